/// How many words, addresses and parameters all headers of one message may list: what comes behind is passed over, so that
/// a message of many short ones does not take many times its size in memory.
const MAX_LISTED: usize = 100_000;

/// What of [`MAX_LISTED`] is left.
pub(crate) struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Self {
        Self(MAX_LISTED)
    }
}

/// Reads an unfolded header value octet by octet. The grammars of addresses and of MIME fields build on it.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    pub(crate) at: usize,
    allowance: &'a mut Allowance,
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(text: &'a [u8], allowance: &'a mut Allowance) -> Self {
        Self { text, at: 0, allowance }
    }

    /// Counts something that is listed. Where no more is allowed the text is at its end.
    pub(crate) const fn count(&mut self) {
        match self.allowance.0.checked_sub(1) {
            Some(left) => self.allowance.0 = left,
            None => self.at = self.text.len(),
        }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    pub(crate) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What was read from one place to another.
    pub(crate) fn since(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    pub(crate) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A quoted string without its quoting.
    pub(crate) fn quoted(&mut self) -> Vec<u8> {
        self.at += 1;
        let mut text = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                b'"' => break,
                b'\\' => text.extend(self.next()),
                _ => text.push(byte),
            }
        }
        text
    }

    /// A comment with the comments inside it; `None` if it is blank.
    pub(crate) fn comment(&mut self) -> Option<Vec<u8>> {
        self.at += 1;
        let mut depth = 1_usize;
        let mut text = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => {
                    text.extend(self.next());
                    continue;
                }
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            text.push(byte);
        }
        let text = text.trim_ascii().to_vec();
        (!text.is_empty()).then_some(text)
    }
}
