//! What a grammar wanted where a command is not understood.

use std::fmt;

use mail_types::{Language, Localised, texts};

texts! {
    /// What a client's author would call a rule of the grammar.
    pub enum Noun {
        AccessRights: "access rights", "um conjunto de permissões", "un conjunto de permisos";
        Astring: "an atom or a string", "um átomo ou uma cadeia", "un átomo o una cadena";
        Atom: "an atom", "um átomo", "un átomo";
        Date: "a date as 1-Feb-2026", "uma data como 1-Feb-2026", "una fecha como 1-Feb-2026";
        Depth: "0, 1 or infinity", "0, 1 ou infinity", "0, 1 o infinity";
        Entry: "an entry", "uma entrada", "una entrada";
        EntryAndValue: "an entry and its value", "uma entrada e o seu valor", "una entrada y su valor";
        Event: "an event", "um evento", "un evento";
        EventGroup: "a group of events", "um grupo de eventos", "un grupo de eventos";
        FetchItem: "a FETCH item", "um elemento de FETCH", "un elemento de FETCH";
        FetchModifier: "a modifier of FETCH", "um modificador de FETCH", "un modificador de FETCH";
        Flag: "a flag", "um sinalizador", "un indicador";
        FlagList: "flags in parentheses",
            "uma lista de sinalizadores entre parênteses", "una lista de indicadores entre paréntesis";
        HeaderField: "a header field", "um campo do cabeçalho", "un campo de la cabecera";
        Identifier: "an identifier", "um identificador", "un identificador";
        IdField: "a field and its value", "um campo e o seu valor", "un campo y su valor";
        LanguageRange: "a language such as pt-BR", "um idioma como pt-BR", "un idioma como pt-BR";
        Lazy: "LAZY", "LAZY", "LAZY";
        ListOption: "a LIST option", "uma opção de LIST", "una opción de LIST";
        Mailbox: "a mailbox", "uma caixa de correio", "un buzón";
        MailboxFilter: "a filter of mailboxes", "um filtro de caixas de correio", "un filtro de buzones";
        MailboxName: "a mailbox name", "o nome de uma caixa de correio", "el nombre de un buzón";
        MailboxNameOrPattern: "a mailbox name or a pattern",
            "o nome de uma caixa de correio ou um padrão", "el nombre de un buzón o un patrón";
        MailboxSource: "a source of mailboxes", "uma origem de caixas de correio", "un origen de buzones";
        MessageNumbers: "message numbers",
            "um conjunto de números de mensagens", "un conjunto de números de mensajes";
        MetadataEntry: "an entry such as /private/comment",
            "uma entrada como /private/comment", "una entrada como /private/comment";
        MetadataOption: "MAXSIZE or DEPTH", "MAXSIZE ou DEPTH", "MAXSIZE o DEPTH";
        Nstring: "a string or NIL", "uma cadeia ou NIL", "una cadena o NIL";
        Number: "a number", "um número", "un número";
        Pattern: "a pattern", "um padrão", "un patrón";
        ResourceAndLimit: "a resource and its limit", "um recurso e o seu limite", "un recurso y su límite";
        ResultOption: "a result option", "uma opção de resultado", "una opción de resultado";
        SearchKey: "a search key", "um critério de pesquisa", "un criterio de búsqueda";
        SelectParameter: "a parameter of SELECT", "um parâmetro de SELECT", "un parámetro de SELECT";
        SettableFlags: "flags that a client may set",
            "uma lista de sinalizadores que um cliente possa definir",
            "una lista de indicadores que un cliente pueda establecer";
        SortCriterion: "a sort criterion", "um critério de ordenação", "un criterio de ordenación";
        Space: "a space", "um espaço", "un espacio";
        SpecialUse: "a special use", "um uso especial", "un uso especial";
        StatusItem: "a STATUS item", "um elemento de STATUS", "un elemento de STATUS";
        String: "a string", "uma cadeia", "una cadena";
        Utf8Text: "an atom or a string in UTF-8",
            "um átomo ou uma cadeia em UTF-8", "un átomo o una cadena en UTF-8";
    }
}

texts! {
    /// What a grammar wanted.
    pub enum Expected {
        Named {
            /// What it is.
            noun: Noun
        }: "{noun}", "{noun}", "{noun}";
        Char {
            /// Which.
            char: char
        }: "\"{char}\"", "\"{char}\"", "\"{char}\"";
        /// Of a list in parentheses.
        Item {
            /// What the list is of.
            noun: Noun
        }: "{noun} or \")\"", "{noun} ou \")\"", "{noun} o \")\"";
        Word: "another word", "outra palavra", "otra palabra";
        End: "the end of the command", "o fim do comando", "el final del comando";
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(Language::Unchosen, f)
    }
}
