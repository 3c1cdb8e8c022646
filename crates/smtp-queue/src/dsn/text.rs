//! What reports say to people, in every language.

use mail_types::texts;

use crate::Status;

texts! {
    /// What a report says to people.
    pub(super) enum Text<'a> {
        SubjectFailed: "Undelivered: your message could not be delivered",
            "Não entregue: não foi possível entregar a sua mensagem",
            "No entregado: no se ha podido entregar su mensaje";
        SubjectDelayed: "Delayed: your message could not be delivered yet",
            "Atraso: ainda não foi possível entregar a sua mensagem",
            "Retraso: todavía no se ha podido entregar su mensaje";
        SubjectDelivered: "Delivered: your message has arrived",
            "Entregue: a sua mensagem chegou", "Entregado: su mensaje ha llegado";
        SubjectRelayed: "Passed on: your message is on its way",
            "Encaminhada: a sua mensagem segue o seu caminho", "Transmitido: su mensaje sigue su camino";

        Us {
            host: &'a str
        }: "This is the mail system at {host}.",
            "Este é o sistema de correio de {host}.", "Este es el sistema de correo de {host}.";
        Failed: "Your message could not be delivered to:",
            "Não foi possível entregar a sua mensagem a:", "No se ha podido entregar su mensaje a:";
        Delayed: "Your message could not be delivered yet to:",
            "Ainda não foi possível entregar a sua mensagem a:", "Todavía no se ha podido entregar su mensaje a:";
        Delivered: "Your message is in the mailbox of:",
            "A sua mensagem está na caixa de correio de:", "Su mensaje está en el buzón de:";
        Relayed: "Your message was handed to a mail system that does not report deliveries, so this is the last you hear of it, unless it fails, for:",
            "A sua mensagem foi entregue a um sistema de correio que não comunica as entregas; salvo em caso de falha, esta é a última notícia, para:",
            "Su mensaje se entregó a un sistema de correo que no comunica las entregas; salvo que falle, esta es la última noticia, para:";
        Expanded: "Your message was sent on to everybody behind this address, and no deliveries are reported of these:",
            "A sua mensagem foi enviada a todos os que recebem por este endereço, e não se comunicam essas entregas:",
            "Su mensaje se ha enviado a todos los que reciben por esta dirección, y no se comunican esas entregas:";
        ForNamed {
            recipient: &'a str,
            named: &'a str
        }: "{recipient} (for {named})", "{recipient} (por {named})", "{recipient} (por {named})";
        HostSaid {
            host: &'a str,
            said: &'a str
        }: "{host} said: {said}", "{host} respondeu: {said}", "{host} respondió: {said}";
        TriedInVain: "It was tried for less than an hour without success. The last attempt:",
            "Tentou-se durante menos de uma hora, sem êxito. A última tentativa:",
            "Se ha intentado durante menos de una hora, sin éxito. El último intento:";
        HoursInVain {
            hours: u64
        }: "It was tried for {hours} hours without success. The last attempt:",
            "Tentou-se durante {hours} horas, sem êxito. A última tentativa:",
            "Se ha intentado durante {hours} horas, sin éxito. El último intento:";
        DaysInVain {
            days: u64
        }: "It was tried for {days} days without success. The last attempt:",
            "Tentou-se durante {days} dias, sem êxito. A última tentativa:",
            "Se ha intentado durante {days} días, sin éxito. El último intento:";
        NotTriedAgain: "It will not be tried again.", "Não se tentará de novo.", "No se volverá a intentar.";
        TriedUntil {
            until: &'a str
        }: "You need not send it again: it is tried until {until}, and you are told if that fails.",
            "Não precisa de a enviar outra vez: tentar-se-á até {until}, e será avisado se não for possível.",
            "No hace falta que lo envíe otra vez: se intentará hasta {until}, y se le avisará si no es posible.";
        MessageAttached: "Your message is attached.",
            "A sua mensagem segue em anexo.", "Se adjunta su mensaje.";
        HeaderAttached: "The header of your message is attached.",
            "O cabeçalho da sua mensagem segue em anexo.", "Se adjunta la cabecera de su mensaje.";

        // What a status means, and what can be done.
        NoSuchAddress: "This address does not exist. Look for a typing error in it.",
            "Este endereço não existe. Verifique se está bem escrito.",
            "Esta dirección no existe. Compruebe que está bien escrita.";
        NoSuchDomain: "The domain behind the @ takes no mail. Look for a typing error in it.",
            "O domínio a seguir ao @ não recebe correio. Verifique se está bem escrito.",
            "El dominio que sigue a la @ no recibe correo. Compruebe que está bien escrito.";
        MailboxFull: "The mailbox is full. Try again later, or reach the recipient another way.",
            "A caixa de correio está cheia. Tente mais tarde, ou contacte o destinatário de outra forma.",
            "El buzón está lleno. Inténtelo más tarde o póngase en contacto con el destinatario de otra manera.";
        TooBig: "The message is too big. Send it without attachments, or in parts.",
            "A mensagem é demasiado grande. Envie-a sem anexos, ou por partes.",
            "El mensaje es demasiado grande. Envíelo sin adjuntos o por partes.";
        NotReached: "The mail system of the recipient could not be reached.",
            "Não foi possível ligar ao sistema de correio do destinatário.",
            "No se ha podido conectar con el sistema de correo del destinatario.";
        NotUnderstood: "The mail system of the recipient does not take a message of this kind.",
            "O sistema de correio do destinatário não aceita mensagens deste tipo.",
            "El sistema de correo del destinatario no acepta mensajes de este tipo.";
        NotAllowed: "The mail system of the recipient refuses the message. Its administrator can say why.",
            "O sistema de correio do destinatário recusa a mensagem. O seu administrador pode dizer porquê.",
            "El sistema de correo del destinatario rechaza el mensaje. Su administrador puede decir por qué.";
    }
}

impl Text<'_> {
    /// What an enhanced status code means to people, where that helps. RFC 3463 §3, RFC 7505 §4.
    pub(super) const fn of(status: Status) -> Option<Self> {
        match (status.subject, status.detail) {
            (1, 1 | 3 | 6) => Some(Self::NoSuchAddress),
            (1, 2 | 10) => Some(Self::NoSuchDomain),
            (2, 2) => Some(Self::MailboxFull),
            (2, 3) | (3, 4) => Some(Self::TooBig),
            (4, 0..=4) => Some(Self::NotReached),
            (6, _) => Some(Self::NotUnderstood),
            (7, _) => Some(Self::NotAllowed),
            (_, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mail_types::{Language, Localised as _};

    use super::*;

    #[test]
    fn no_text_is_the_same_in_two_languages() {
        for [english, portuguese, spanish] in Text::SOURCES {
            let is_form = english.starts_with('{');
            assert!(
                is_form || english != portuguese && english != spanish && portuguese != spanish,
                "{english}"
            );
        }
    }

    #[test]
    fn a_status_is_told_to_people_where_that_helps() {
        let told = |status| Text::of(status).map(|text| text.within(Language::Spanish).to_string());
        assert!(told(Status::new(5, 1, 1)).unwrap().starts_with("Esta dirección no existe."));
        assert!(told(Status::new(4, 2, 2)).unwrap().starts_with("El buzón está lleno."));
        assert_eq!(told(Status::new(5, 0, 0)), None);
    }
}
