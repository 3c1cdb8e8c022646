//! Parameter values in pieces and in other charsets (RFC 2231).

use crate::Param;

/// The parameters with those in pieces (`name*0`, `name*1`) put together under their name, which keeps its asterisk if
/// the value is still percent-encoded. Pieces that don't count from 0 without a gap stay as they are.
pub(crate) fn joined(params: Vec<Param>) -> Vec<Param> {
    let mut pieces: Vec<Piece<'_>> = params.iter().enumerate().filter_map(Piece::parse).collect();
    if pieces.is_empty() {
        return params;
    }
    pieces.sort_by(|a, b| (&a.base, a.number).cmp(&(&b.base, b.number)));
    let mut changed: Vec<Option<Param>> = params.iter().cloned().map(Some).collect();
    for pieces in pieces.chunk_by(|a, b| a.base == b.base) {
        if let Some(whole) = whole(pieces) {
            let first = pieces.iter().map(|piece| piece.at).min();
            for at in pieces.iter().map(|piece| piece.at) {
                if let Some(slot) = changed.get_mut(at) {
                    *slot = (Some(at) == first).then(|| whole.clone());
                }
            }
        }
    }
    changed.into_iter().flatten().collect()
}

/// `attribute "*" number ["*"]` and its value.
struct Piece<'a> {
    /// The attribute in lower case.
    base: Vec<u8>,
    number: usize,
    extended: bool,
    value: &'a [u8],
    /// Where it stands among the parameters.
    at: usize,
}

impl<'a> Piece<'a> {
    fn parse((at, (name, value)): (usize, &'a Param)) -> Option<Self> {
        let (name, extended) = name.strip_suffix(b"*").map_or((name.as_slice(), false), |name| (name, true));
        let asterisk = name.iter().rposition(|byte| *byte == b'*')?;
        let number = std::str::from_utf8(name.get(asterisk + 1..)?).ok()?.parse().ok()?;
        Some(Self { base: name.get(..asterisk)?.to_ascii_lowercase(), number, extended, value, at })
    }

    /// The value percent-encoded.
    fn encoded(&self) -> Vec<u8> {
        if self.extended {
            return self.value.to_vec();
        }
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b"%'*\"();,/:<=>?@[]".contains(byte);
        let encode = |byte: &u8| match plain(byte) {
            true => vec![*byte],
            false => format!("%{byte:02X}").into_bytes(),
        };
        self.value.iter().flat_map(encode).collect()
    }
}

/// The parameter that the pieces make, which are in the order of their numbers.
fn whole(pieces: &[Piece<'_>]) -> Option<Param> {
    if pieces.iter().enumerate().any(|(position, piece)| piece.number != position) {
        return None;
    }
    let mut name = pieces.first()?.base.clone();
    if !pieces.iter().any(|piece| piece.extended) {
        return Some((name, pieces.iter().flat_map(|piece| piece.value).copied().collect()));
    }
    name.push(b'*');
    Some((name, pieces.iter().flat_map(Piece::encoded).collect()))
}

/// The octets of an `extended-other-values`, `charset'language'percent-encoded`.
pub(crate) fn extended_value(value: &[u8]) -> Vec<u8> {
    let encoded = value.splitn(3, |byte| *byte == b'\'').nth(2).unwrap_or(value);
    let mut octets = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, behind)) = rest.split_first() {
        let hex = || u8::from_str_radix(std::str::from_utf8(behind.get(..2)?).ok()?, 16).ok();
        let decoded = if *first == b'%' { hex() } else { None };
        octets.push(decoded.unwrap_or(*first));
        rest = behind.get(if decoded.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(params: &[(&str, &str)], expected: &[(&str, &str)]) {
        let octets = |params: &[(&str, &str)]| -> Vec<Param> {
            params.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
        };
        assert_eq!(joined(octets(params)), octets(expected), "{params:?}");
    }

    #[test]
    fn pieces_are_put_together_in_their_order() {
        check(&[("name*1", "b"), ("x", "y"), ("NAME*0", "a")], &[("name", "ab"), ("x", "y")]);
        check(&[("n*0*", "utf-8''%C3"), ("n*1*", "%A4"), ("n*2", ". x")], &[("n*", "utf-8''%C3%A4.%20x")]);
        check(&[("n*", "utf-8''a")], &[("n*", "utf-8''a")]);
    }

    #[test]
    fn pieces_with_gaps_stay_as_they_are() {
        for params in
            [[("n*0", "a"), ("n*2", "b")], [("n*0", "a"), ("n*0", "b")], [("n*1", "a"), ("n*x", "b")]]
        {
            check(&params, &params);
        }
    }

    #[test]
    fn an_extended_value_is_decoded() {
        assert_eq!(extended_value(b"us-ascii'en'a%20b%"), b"a b%");
        assert_eq!(extended_value(b"bare"), b"bare");
    }
}
