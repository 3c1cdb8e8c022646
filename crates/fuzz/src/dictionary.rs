/// The words of a dictionary: on each line one in quotes, `#` begins a comment, and `\xNN`, `\\` and `\"` are escapes.
pub(crate) fn words(dictionary: &str) -> Vec<Vec<u8>> {
    let lines = dictionary.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| Some(unescaped(line.strip_prefix('"')?.strip_suffix('"')?))).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut word, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        let hexadecimal = || std::str::from_utf8(after.get(1..3)?).ok();
        match (octet, after.first()) {
            (b'\\', Some(b'x')) => {
                word.extend(hexadecimal().and_then(|digits| u8::from_str_radix(digits, 16).ok()));
                rest = after.get(3..).unwrap_or_default();
            }
            (b'\\', Some(escaped)) => {
                word.push(*escaped);
                rest = after.get(1..).unwrap_or_default();
            }
            _ => word.push(*octet),
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_libfuzzer_reads_them() {
        let read = words("# a comment\n\"FETCH\"\n\n  \"\\x0d\\x0A\\\"\\\\\"\n");
        assert_eq!(read, [b"FETCH".to_vec(), b"\r\n\"\\".to_vec()]);
    }
}
