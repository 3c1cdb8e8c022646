//! What responses say to people, in every language.

use std::borrow::Cow;
use std::fmt;

use imap_proto::Expected;
use mail_store::Refusal;
use mail_types::{Language, Localised, MailboxNameError, texts};

texts! {
    /// What a response says to people.
    pub(crate) enum Text {
        // Of the connection.
        BeginTls: "Begin TLS now", "Inicie o TLS agora", "Inicie TLS ahora";
        DeflateActive: "DEFLATE active", "DEFLATE ativado", "DEFLATE activado";
        DeflateIsActive: "DEFLATE is active", "DEFLATE já está ativo", "DEFLATE ya está activo";
        DoneExpected: "DONE was expected", "Esperava-se DONE", "Se esperaba DONE";
        DoneIdling: "Done idling", "Espera terminada", "Espera terminada";
        Goodbye: "Goodbye", "Até logo", "Hasta luego";
        Idling: "idling", "à espera", "a la espera";
        NotInThisState: "Not in this state", "Não é possível neste estado", "No es posible en este estado";
        NotNow: "Not now", "Agora não", "Ahora no";
        Restarting: "The server is restarting", "O servidor vai reiniciar", "El servidor se está reiniciando";
        StartTlsNotOffered: "STARTTLS is not offered",
            "STARTTLS não está disponível", "STARTTLS no está disponible";
        StillAtWork: "Still at work", "Ainda em curso", "Aún en curso";
        StillHere: "Still here", "Continuamos aqui", "Seguimos aquí";
        TooLongSilent: "Too long silent", "Demasiado tempo sem atividade", "Demasiado tiempo sin actividad";
        TooManyErrors: "Too many errors", "Demasiados erros", "Demasiados errores";
        TooMuchAtOnce: "Too much at once", "Demasiados dados de uma só vez", "Demasiados datos de una sola vez";
        WorkDone {
            percent: u64
        }: "{percent} % done", "{percent} % concluído", "{percent} % completado";

        // Of the language.
        LanguagesListed: "These are the languages", "Estes são os idiomas", "Estos son los idiomas";
        NoSuchLanguage: "None of these languages is known",
            "Nenhum destes idiomas é conhecido", "No se conoce ninguno de estos idiomas";
        /// Of the namespace: like a mailbox name in modified UTF-7, and so in US-ASCII without `&`.
        OtherUsers: "Other Users", "Outras contas", "Otros usuarios";
        NowSpeaking: "Now speaking English", "Agora em português", "Ahora en español";

        // Of who the client is.
        Cancelled: "Cancelled", "Cancelado", "Cancelado";
        LoggedIn: "Logged in", "Sessão iniciada", "Sesión iniciada";
        LogInFirst: "Log in first", "Inicie sessão primeiro", "Inicie sesión primero";
        MalformedResponse: "Malformed response", "Resposta malformada", "Respuesta mal formada";
        NotToldOfPlus: "SCRAM-SHA-256-PLUS is offered here, and the client was not told so",
            "SCRAM-SHA-256-PLUS está disponível, mas o cliente não foi informado disso",
            "SCRAM-SHA-256-PLUS está disponible, pero no se informó de ello al cliente";
        OtherConnection: "The client's end of this connection is not ours: somebody stands between",
            "A ligação que o cliente vê não é esta: há alguém pelo meio",
            "La conexión que ve el cliente no es esta: hay alguien en medio";
        UnknownBinding: "Channel bindings here are tls-exporter and tls-server-end-point",
            "Aqui os vínculos ao canal são tls-exporter e tls-server-end-point",
            "Aquí los vínculos al canal son tls-exporter y tls-server-end-point";
        NobodyLoggedIn: "Nobody is logged in", "Ninguém tem sessão iniciada", "Nadie ha iniciado sesión";
        NotBase64: "Not base64", "Não é base64", "No es base64";
        TooManyConnections: "Too many connections of this account",
            "Demasiadas conexões desta conta", "Demasiadas conexiones de esta cuenta";
        TooManyFailedLogins: "Too many failed logins",
            "Demasiadas tentativas de iniciar sessão falharam", "Demasiados intentos fallidos de iniciar sesión";
        TryLater: "Try again later", "Tente novamente mais tarde", "Inténtelo de nuevo más tarde";
        UnknownMechanism: "Unknown mechanism", "Mecanismo desconhecido", "Mecanismo desconocido";
        UseStartTls: "Use STARTTLS first", "Use primeiro STARTTLS", "Use primero STARTTLS";
        WrongCredentials: "Wrong user name or password",
            "Nome ou senha incorretos", "Nombre de usuario o contraseña incorrectos";

        // Of what can't be read as a command.
        AppendNotUnderstood:
            "Not understood: expected flags, a date and time, CATENATE, a part of it, or the message",
            "Não compreendido: esperavam-se sinalizadores, uma data com hora, CATENATE, uma parte dele ou a mensagem",
            "No se entiende: se esperaban indicadores, una fecha con hora, CATENATE, una parte de él o el mensaje";
        CommandTooLong: "The command line is too long",
            "A linha do comando é demasiado longa", "La línea del comando es demasiado larga";
        LiteralTooBig: "The literal is too big", "O literal é demasiado grande", "El literal es demasiado grande";
        MessageMustBeLiteral: "The message must be a literal",
            "A mensagem tem de ser um literal", "El mensaje debe ser un literal";
        NoSuchCommand: "No such command", "Esse comando não existe", "Ese comando no existe";
        NoTag: "A command begins with a tag",
            "Um comando começa por uma etiqueta", "Un comando empieza por una etiqueta";
        NotUnderstood {
            expected: Expected,
            octet: usize
        }: "Not understood: expected {expected} at octet {octet}",
            "Não compreendido: esperava-se {expected} no octeto {octet}",
            "No se entiende: se esperaba {expected} en el octeto {octet}";
        TooMuchNesting: "Too much nesting",
            "Demasiados níveis uns dentro dos outros", "Demasiados niveles unos dentro de otros";
        UnknownCommand: "Unknown command", "Comando desconhecido", "Comando desconocido";

        // Of limits.
        TooManyAnnotations: "There are as many annotations as there may be",
            "Já há tantas anotações quantas pode haver", "Ya hay tantas anotaciones como puede haber";
        TooManyFromThere: "Too many connections from your network, try again later",
            "Demasiadas conexões da sua rede, tente mais tarde", "Demasiadas conexiones desde su red, inténtelo más tarde";
        TooManyIdentifiers: "The mailbox has rights for too many already",
            "A caixa de correio já tem permissões para demasiadas contas", "El buzón ya tiene permisos para demasiados usuarios";
        TooManyItems: "Too many data items", "Demasiados elementos de dados", "Demasiados elementos de datos";
        TooManyKeys: "Too many search keys",
            "Demasiados critérios de pesquisa", "Demasiados criterios de búsqueda";
        TooManyLevels: "The mailbox name has too many levels",
            "O nome da caixa de correio tem demasiados níveis", "El nombre del buzón tiene demasiados niveles";
        TooManyMailboxes: "So many mailboxes can't be watched",
            "Não é possível vigiar tantas caixas de correio", "No se pueden vigilar tantos buzones";
        TooManyMessages: "So many messages can't be appended at once",
            "Não é possível guardar tantas mensagens de uma só vez",
            "No se pueden guardar tantos mensajes de una sola vez";
        TooManyNumbers: "Too many numbers in a set",
            "Demasiados números num conjunto", "Demasiados números en un conjunto";
        TooManySearches: "Too many searches are to be updated",
            "Há demasiadas pesquisas por atualizar", "Hay demasiadas búsquedas por actualizar";
        SearchTooDeep: "Search keys too deep in each other",
            "Demasiados critérios de pesquisa uns dentro dos outros",
            "Demasiados criterios de búsqueda unos dentro de otros";
        MailboxFull: "The mailbox is full", "A caixa de correio está cheia", "El buzón está lleno";
        MessageTooBig: "The message is too big",
            "A mensagem é demasiado grande", "El mensaje es demasiado grande";
        NameTooLong: "The mailbox name is too long",
            "O nome da caixa de correio é demasiado longo", "El nombre del buzón es demasiado largo";
        NoNumbersLeft: "The mailbox has no numbers left",
            "Já não há números para a caixa de correio", "Ya no quedan números para el buzón";

        // Of mailboxes and their names.
        MailboxClosed: "Closed", "Fechada", "Cerrado";
        MailboxCreated: "Created", "Criada", "Creado";
        MailboxDeleted: "Deleted", "Eliminada", "Eliminado";
        MailboxExists: "The mailbox exists", "A caixa de correio já existe", "El buzón ya existe";
        MailboxLost: "The selected mailbox was deleted or renamed",
            "A caixa de correio selecionada foi eliminada ou mudou de nome",
            "El buzón seleccionado se ha eliminado o ha cambiado de nombre";
        MailboxRenamed: "Renamed", "Nome alterado", "Nombre cambiado";
        MailboxSelected: "Selected", "Selecionada", "Seleccionado";
        MailboxUnselected: "Unselected", "Seleção anulada", "Selección anulada";
        MailboxesListed: "Listed", "Lista concluída", "Lista completada";
        HasChildren: "It is no mailbox, and there are some below it",
            "Não é uma caixa de correio, e há algumas abaixo", "No es un buzón, y hay algunos por debajo";
        InboxStays: "INBOX can't be deleted",
            "Não é possível eliminar INBOX", "No se puede eliminar INBOX";
        NameControlCharacter: "a mailbox name must not hold control characters",
            "o nome de uma caixa de correio não pode conter caracteres não imprimíveis",
            "el nombre de un buzón no puede contener caracteres de control";
        NameEmptyPart: "a mailbox name must not have an empty part",
            "o nome de uma caixa de correio não pode ter uma parte vazia",
            "el nombre de un buzón no puede tener una parte vacía";
        NameEncoding: "the mailbox name is not valid modified UTF-7 or UTF-8",
            "o nome da caixa de correio não é UTF-7 modificado nem UTF-8 válido",
            "el nombre del buzón no es UTF-7 modificado ni UTF-8 válido";
        NameNotPossible: "a mailbox can't be moved to this name",
            "não é possível dar esse nome à caixa de correio", "no se puede dar ese nombre al buzón";
        NameOfOthers: "Mailboxes of this name are other users'",
            "As caixas de correio com este nome são de outras contas",
            "Los buzones con este nombre son de otros usuarios";
        NamePartsTooLong: "the mailbox name is too long",
            "o nome da caixa de correio é demasiado longo", "el nombre del buzón es demasiado largo";
        NameTooDeep: "the mailbox name has too many levels",
            "o nome da caixa de correio tem demasiados níveis", "el nombre del buzón tiene demasiados niveles";
        NoSuchMailbox: "No such mailbox", "Essa caixa de correio não existe", "Ese buzón no existe";
        NoSuchUse: "No mailbox can have this use",
            "Nenhuma caixa de correio pode ter este uso", "Ningún buzón puede tener este uso";
        NoSuchUseHere: "No mailbox here can have this use",
            "Nenhuma caixa de correio daqui pode ter este uso", "Ningún buzón de aquí puede tener este uso";
        NotOfThisUse: "The mailbox can't have this use",
            "A caixa de correio não pode ter este uso", "El buzón no puede tener este uso";
        NotToAnotherAccount: "A mailbox can't go to another account",
            "Uma caixa de correio não pode passar para outra conta", "Un buzón no puede pasar a otra cuenta";
        SelectFirst: "Select a mailbox first",
            "Selecione primeiro uma caixa de correio", "Seleccione primero un buzón";

        // Of the mailbox that is selected.
        AllFlagsKept: "Flags and keywords are kept",
            "Guardam-se os sinalizadores e as palavras-chave", "Se guardan los indicadores y las palabras clave";
        ByWhichItIsKnown: "By which it is known", "É o que a identifica", "Es lo que lo identifica";
        FirstUnseen: "The first unseen message", "A primeira mensagem não lida", "El primer mensaje no leído";
        NextMailbox: "What follows is of the next mailbox",
            "O que se segue é da próxima caixa de correio", "Lo que sigue es del siguiente buzón";
        NextUid: "The next UID", "O próximo UID", "El próximo UID";
        NothingCanBeChanged: "Nothing can be changed", "Nada pode ser alterado", "No se puede cambiar nada";
        SomeFlagsAndKeywordsKept: "These flags and keywords are kept",
            "Guardam-se estes sinalizadores e palavras-chave", "Se guardan estos indicadores y palabras clave";
        SomeFlagsKept: "These flags are kept", "Guardam-se estes sinalizadores", "Se guardan estos indicadores";
        ToldUpToHere: "Up to here all is told", "Até aqui está tudo dito", "Hasta aquí está todo dicho";
        UidsValid: "UIDs are valid", "Os UIDs são válidos", "Los UID son válidos";

        // Of messages.
        Appended: "Appended", "Guardado", "Guardado";
        Copied: "Copied", "Copiado", "Copiado";
        Expunged: "Expunged", "Eliminado definitivamente", "Eliminado definitivamente";
        Fetched: "Fetched", "Obtido", "Obtenido";
        FetchedSome: "Fetched, but for messages that are gone",
            "Obtido, exceto as mensagens que já não existem", "Obtenido, salvo los mensajes que ya no existen";
        Moved: "Moved", "Movido", "Movido";
        NewMessageThere: "The new message is there", "A nova mensagem está guardada", "El nuevo mensaje está guardado";
        Replaced: "Replaced", "Substituído", "Reemplazado";
        Searched: "Searched", "Pesquisa concluída", "Búsqueda completada";
        Sorted: "Sorted", "Ordenado", "Ordenado";
        Stored: "Stored", "Alterado", "Cambiado";
        StoredSome: "Stored, but for messages that are gone",
            "Alterado, exceto as mensagens que já não existem", "Cambiado, salvo los mensajes que ya no existen";
        StoredWhereUnchanged: "Not stored where it changed meanwhile",
            "Não alterado onde entretanto houve mudanças", "No cambiado donde entretanto hubo cambios";
        Threaded: "Threaded", "Agrupado em conversas", "Agrupado en conversaciones";
        MessageEmpty: "A message can't be empty",
            "Uma mensagem não pode estar vazia", "Un mensaje no puede estar vacío";
        MessageGone: "The message is gone", "A mensagem já não existe", "El mensaje ya no existe";
        MessagesGone: "Some of the messages are gone",
            "Algumas das mensagens já não existem", "Algunos de los mensajes ya no existen";
        NothingToCopy: "Nothing to copy", "Nada para copiar", "Nada que copiar";
        NothingToMove: "Nothing to move", "Nada para mover", "Nada que mover";
        NoMessage: "There is no message", "Não há mensagem", "No hay mensaje";
        NoMessageNumbers: "There are no message numbers any more",
            "Já não há números de mensagens", "Ya no hay números de mensajes";
        NoNumbersWithUidOnly: "There are no message numbers with UIDONLY",
            "Com UIDONLY não há números de mensagens", "Con UIDONLY no hay números de mensajes";
        NoSuchMessage: "No such message", "Essa mensagem não existe", "Ese mensaje no existe";
        NoSuchNumber: "No message has this sequence number",
            "Nenhuma mensagem tem este número de sequência", "Ningún mensaje tiene este número de secuencia";
        MessagesStayInAccount: "messages can't be moved or copied to another account",
            "não é possível mover nem copiar mensagens para outra conta",
            "no se pueden mover ni copiar mensajes a otra cuenta";
        NulsOnlyInBinary: "NULs may stand only in bodies whose transfer encoding is binary",
            "Só pode haver NUL em corpos cuja codificação de transferência seja binary",
            "Solo puede haber NUL en cuerpos cuya codificación de transferencia sea binary";
        OneForOne: "One message takes the place of one",
            "Uma mensagem substitui uma só", "Un mensaje reemplaza uno solo";
        UnknownEncoding: "A part's transfer encoding is not known, or broken",
            "A codificação de transferência de uma parte é desconhecida ou está danificada",
            "La codificación de transferencia de una parte es desconocida o está dañada";
        UrlNamesNothing: "It names no message or part of one in this account",
            "Não designa nenhuma mensagem desta conta, nem parte de uma",
            "No designa ningún mensaje de esta cuenta, ni parte de uno";

        // Of searches.
        NoFurtherUpdates: "No further updates", "Sem mais atualizações", "Sin más actualizaciones";
        NoSuchFilter: "There is no such filter", "Esse filtro não existe", "Ese filtro no existe";
        NoSearchForFilter: "That is no search that a filter could stand for",
            "Isso não é uma pesquisa que um filtro possa representar",
            "Eso no es una búsqueda que un filtro pueda representar";
        OnlySearchUpdated: "Only a SEARCH is updated", "Só um SEARCH se atualiza", "Solo se actualiza un SEARCH";
        RelevancyOfFuzzy: "RELEVANCY needs a FUZZY key",
            "RELEVANCY precisa de um critério FUZZY", "RELEVANCY necesita un criterio FUZZY";
        SaveOfSelected: "SAVE is of the selected mailbox alone",
            "SAVE só vale para a caixa de correio selecionada", "SAVE solo vale para el buzón seleccionado";
        SortNotUpdated: "What changed can't be sorted",
            "Não é possível ordenar o que mudou", "No se puede ordenar lo que ha cambiado";
        TagInUse: "The tag is that of a search that is updated",
            "A etiqueta é a de uma pesquisa em atualização",
            "La etiqueta es la de una búsqueda que se está actualizando";
        UnknownCharset: "Unknown charset", "Conjunto de caracteres desconhecido", "Juego de caracteres desconocido";
        WithFilterUtf8: "With FILTER, all is in UTF-8", "Com FILTER, está tudo em UTF-8", "Con FILTER, todo está en UTF-8";

        // Of rights, quotas and annotations.
        AnnotationTooLarge: "The value is too large", "O valor é demasiado grande", "El valor es demasiado grande";
        NoPermission: "You have no right to do this",
            "Não tem permissão para fazer isto", "No tiene permiso para hacer esto";
        NoPermissionForFlags: "You have no right to change these flags",
            "Não tem permissão para alterar estes sinalizadores", "No tiene permiso para cambiar estos indicadores";
        NoSuchIdentifier: "There is no account or alias of this name",
            "Não existe conta nem alias com este nome", "No existe ninguna cuenta ni alias con este nombre";
        NoSuchQuotaRoot: "No such quota root", "Essa raiz de quota não existe", "Esa raíz de cuota no existe";
        NotAnIdentifier: "This can't be an identifier", "Isto não pode ser um identificador", "Esto no puede ser un identificador";
        NoValueThere: "Such an entry has no value", "Uma entrada destas não tem valor", "Una entrada así no tiene valor";
        OnlyAdministratorSetsQuotas: "Only the administrator sets quotas",
            "Só o administrador define quotas", "Solo el administrador establece cuotas";
        OnlyAdministratorTellsAll: "Only the administrator says what all are told of the server",
            "Só o administrador decide o que se diz a todos sobre o servidor",
            "Solo el administrador decide lo que se dice a todos sobre el servidor";
        RightsDeleted: "Deleted", "Permissões eliminadas", "Permisos eliminados";
        RightsSet: "Set", "Permissões definidas", "Permisos establecidos";
        SomeAreLonger: "Some are longer", "Algumas são mais longas", "Algunas son más largas";

        // Of what goes together.
        EnableQresyncFirst: "ENABLE QRESYNC comes first", "Primeiro é preciso ENABLE QRESYNC", "Primero hace falta ENABLE QRESYNC";
        EventsOfMessagesOnly: "Of the selected mailbox, only events of messages are told",
            "Da caixa de correio selecionada só se comunicam eventos de mensagens",
            "Del buzón seleccionado solo se comunican eventos de mensajes";
        EventsTogether: "MessageNew and MessageExpunge go together",
            "MessageNew e MessageExpunge vão juntos", "MessageNew y MessageExpunge van juntos";
        FetchOfSelectedOnly: "What is to be fetched can be named for the selected mailbox only",
            "Só para a caixa de correio selecionada se pode dizer o que obter",
            "Solo para el buzón seleccionado se puede decir qué obtener";
        FlagChangeTogether: "FlagChange goes with MessageNew and MessageExpunge",
            "FlagChange vai com MessageNew e MessageExpunge", "FlagChange va con MessageNew y MessageExpunge";
        NoSuchEvent: "No such event is known", "Esse evento não é conhecido", "Ese evento no se conoce";
        NotAllTold: "Not all that happens can be told; nothing is from here on",
            "Não é possível comunicar tudo o que acontece; a partir daqui não se comunica nada",
            "No se puede comunicar todo lo que ocurre; a partir de aquí no se comunica nada";
        PartialWithUidFetch: "PARTIAL goes with UID FETCH", "PARTIAL vai com UID FETCH", "PARTIAL va con UID FETCH";
        SelectedOnce: "The selected mailbox can be named once",
            "A caixa de correio selecionada só pode ser indicada uma vez",
            "El buzón seleccionado solo se puede indicar una vez";
        VanishedTogether: "VANISHED goes with UID FETCH and CHANGEDSINCE",
            "VANISHED vai com UID FETCH e CHANGEDSINCE", "VANISHED va con UID FETCH y CHANGEDSINCE";

        // Of everything else.
        Done: "Done", "Feito", "Hecho";
        MailboxReadOnly: "The mailbox is selected read-only",
            "A caixa de correio está selecionada apenas para leitura", "El buzón está seleccionado solo para lectura";
        NoRecipient: "a delivery needs a recipient",
            "uma entrega precisa de um destinatário", "una entrega necesita un destinatario";
        Noted: "Noted", "Anotado", "Anotado";
        DiskFull: "The server's disk is full: delete what you don't need, or tell your administrator",
            "O disco do servidor está cheio: apague o que não precisa ou avise o administrador",
            "El disco del servidor está lleno: borre lo que no necesite o avise al administrador";
        StoreFailed: "The mail store failed; try again later",
            "O armazenamento do correio falhou; tente novamente mais tarde",
            "El almacén de correo ha fallado; inténtelo de nuevo más tarde";
    }
}

impl Text {
    /// With a response code, which stands for itself in every language.
    pub(crate) const fn coded(self, code: &'static str) -> RespText {
        RespText { code: Some(Cow::Borrowed(code)), text: self }
    }

    /// As [`Self::coded`], with a code that is made up for the occasion.
    pub(crate) const fn coded_as(self, code: String) -> RespText {
        RespText { code: Some(Cow::Owned(code)), text: self }
    }
}

impl From<Refusal> for Text {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OtherAccount => Self::MessagesStayInAccount,
            Refusal::Inbox => Self::InboxStays,
            Refusal::Name => Self::NameNotPossible,
            Refusal::NoRecipient => Self::NoRecipient,
        }
    }
}

impl From<MailboxNameError> for Text {
    fn from(error: MailboxNameError) -> Self {
        match error {
            MailboxNameError::Empty => Self::NameEmptyPart,
            MailboxNameError::TooLong => Self::NamePartsTooLong,
            MailboxNameError::TooDeep => Self::NameTooDeep,
            MailboxNameError::ControlCharacter => Self::NameControlCharacter,
            MailboxNameError::Encoding | _ => Self::NameEncoding,
        }
    }
}

/// `resp-text = ["[" resp-text-code "]" SP] text`. RFC 3501 §9, with RFC 5255 §3.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RespText {
    code: Option<Cow<'static, str>>,
    text: Text,
}

impl RespText {
    pub(crate) const fn new(text: Text) -> Self {
        Self { code: None, text }
    }

    /// The same with this code, if it has none.
    pub(crate) fn or_coded(mut self, code: impl FnOnce() -> String) -> Self {
        self.code.get_or_insert_with(|| Cow::Owned(code()));
        self
    }

    /// As it reads in one language.
    pub(crate) const fn within(&self, language: Language) -> InLanguage<'_> {
        InLanguage { said: self, language }
    }
}

impl From<Text> for RespText {
    fn from(text: Text) -> Self {
        Self::new(text)
    }
}

/// A text with its code, in one language.
pub(crate) struct InLanguage<'a> {
    said: &'a RespText,
    language: Language,
}

impl fmt::Display for InLanguage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.said.code {
            write!(f, "[{code}] ")?;
        }
        self.said.text.write(self.language, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use imap_proto::Noun;

    use super::*;

    fn placeholders(source: &str) -> BTreeSet<&str> {
        source.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
    }

    fn sources() -> impl Iterator<Item = &'static [&'static str; 3]> {
        Text::SOURCES.iter().chain(Noun::SOURCES).chain(Expected::SOURCES)
    }

    #[test]
    fn no_language_lacks_a_part_of_a_text() {
        for [english, translations @ ..] in sources() {
            for translation in translations {
                assert_eq!(placeholders(translation), placeholders(english), "{translation}");
            }
        }
    }

    /// RFC 2277 §4.5, RFC 5255 §3.5: `i-default` is in US-ASCII, and no text looks like a response code.
    #[test]
    fn every_text_may_stand_in_a_response() {
        for source in sources() {
            let [english, ..] = source;
            assert!(english.is_ascii(), "{english}");
            for text in source {
                assert!(!text.trim().is_empty() && text.trim() == *text, "{text}");
                assert!(!text.contains('[') && !text.contains(char::is_control), "{text}");
            }
        }
    }

    /// RFC 5255 §3.4
    #[test]
    fn the_translated_namespace_is_the_same_in_modified_utf7() {
        for language in Language::ALL {
            let name = Text::OtherUsers.within(language).to_string();
            assert!(name.is_ascii() && !name.contains(['&', '"', '\\']), "{name}");
        }
    }

    #[test]
    fn what_a_grammar_expected_is_told_in_the_language() {
        let text = Text::NotUnderstood { expected: Expected::Item { noun: Noun::Flag }, octet: 7 };
        for (language, expected) in [
            (Language::Unchosen, "Not understood: expected a flag or \")\" at octet 7"),
            (Language::English, "Not understood: expected a flag or \")\" at octet 7"),
            (Language::Portuguese, "Não compreendido: esperava-se um sinalizador ou \")\" no octeto 7"),
            (Language::Spanish, "No se entiende: se esperaba un indicador o \")\" en el octeto 7"),
        ] {
            assert_eq!(text.within(language).to_string(), expected);
        }
    }

    #[test]
    fn a_code_stands_for_itself() {
        let text = RespText::new(Text::Moved).or_coded(|| "HIGHESTMODSEQ 7".to_owned());
        assert_eq!(text.within(Language::Spanish).to_string(), "[HIGHESTMODSEQ 7] Movido");
        let text = Text::MailboxFull.coded("OVERQUOTA").or_coded(|| "HIGHESTMODSEQ 7".to_owned());
        assert_eq!(
            text.within(Language::Portuguese).to_string(),
            "[OVERQUOTA] A caixa de correio está cheia"
        );
    }
}
