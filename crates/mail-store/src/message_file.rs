use std::fs::File;
use std::io::Read as _;

/// A message's file, open for reading.
#[derive(Debug)]
pub struct MessageFile {
    /// At its start.
    pub file: File,
    /// Octets in the file.
    pub file_size: u64,
    /// Octets on the wire; greater than `file_size` when a foreign program wrote bare LFs.
    pub wire_size: u64,
}

impl MessageFile {
    /// The whole message as it goes over the wire, each line ended by CRLF.
    ///
    /// # Errors
    /// What reading the file says.
    pub fn read(mut self) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(usize::try_from(self.file_size).unwrap_or_default());
        self.file.read_to_end(&mut content)?;
        if self.wire_size == self.file_size {
            return Ok(content);
        }
        let mut wire = Vec::with_capacity(content.len() + content.len() / 32);
        for line in content.split_inclusive(|c| *c == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    wire.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                    wire.extend_from_slice(b"\r\n");
                }
                None => wire.extend_from_slice(line),
            }
        }
        Ok(wire)
    }
}
