//! Damaged and hostile messages are told of like any other: whatever is asked, the answer is whole and of bounded size.
#![allow(missing_docs, clippy::indexing_slicing)]

use testkit::Fixture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MEBIBYTE: usize = 1 << 20;

/// Each with what its structure begins with.
fn messages() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let text = |text: String| text.into_bytes();
    let multipart = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let opened =
        |level: usize| format!("Content-Type: multipart/mixed; boundary=\"{level}.\"\r\n\r\n--{level}.\r\n");
    let octets: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    let field = |name: &str| [name.as_bytes(), b": ", &octets, b"\r\n"].concat();
    vec![
        ("nothing at all", Vec::new(), r#"("TEXT" "PLAIN" ("#),
        ("no header", text("\r\njust text\r\n".to_owned()), r#"("TEXT" "PLAIN" ("#),
        (
            "a header without an end",
            text("Subject: s\r\nContent-Type: text/html".to_owned()),
            r#"("TEXT" "HTML" ("#,
        ),
        (
            "a header of 10 MB in one field",
            text(format!("Subject: {}\r\n\r\nx\r\n", "y".repeat(10 * MEBIBYTE))),
            r#"("TEXT" "PLAIN" ("#,
        ),
        (
            "a header of half a million fields",
            text(format!("{}\r\nx\r\n", "X: y\r\n".repeat(MEBIBYTE / 2))),
            r#"("TEXT" "PLAIN" ("#,
        ),
        (
            "a million recipients",
            text(format!("To: {}\r\n\r\nx\r\n", "a@b.test, ".repeat(1_000_000))),
            r#"("TEXT" "PLAIN" ("#,
        ),
        (
            "100,000 parts",
            text(format!("{multipart}{}--b--\r\n", "--b\r\n\r\nx\r\n".repeat(100_000))),
            r#"(("TEXT" "PLAIN" ("#,
        ),
        ("parts 100,000 deep", text((0..100_000).map(opened).collect()), "(((((((((("),
        (
            "messages 100,000 deep",
            text("Content-Type: message/rfc822\r\n\r\n".repeat(100_000)),
            r#"("MESSAGE" "RFC822" "#,
        ),
        (
            "a multipart without a boundary",
            text("Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n".to_owned()),
            r#"("TEXT" "PLAIN" ("#,
        ),
        (
            "a multipart that is never closed",
            text(format!("{multipart}--b\r\nContent-Type: image/png\r\n\r\nx")),
            r#"(("IMAGE" "PNG" "#,
        ),
        ("a multipart without parts", text(format!("{multipart}x\r\n")), r#"(("TEXT" "PLAIN" ("#),
        (
            "every octet in every field",
            [field("From"), field("Subject"), field("Content-Type"), field("Message-ID"), octets.clone()]
                .concat(),
            r#"("TEXT" "PLAIN" ("#,
        ),
        ("NULs alone", vec![0; 64 * 1024], r#"("TEXT" "PLAIN" ("#),
        ("one line of 2 MB", text(format!("\r\n{}", "z".repeat(2 * MEBIBYTE))), r#"("TEXT" "PLAIN" ("#),
    ]
}

/// The octets of an answer up to its tagged line, literals left out; an error if it does not end or has more than `most`.
async fn answer(client: &mut TcpStream, tag: &str, most: usize) -> anyhow::Result<String> {
    let (mut received, mut at) = (Vec::new(), 0);
    let mut text = String::new();
    loop {
        while let Some(end) = received.get(at..).and_then(|it: &[u8]| memchr(it, b'\n')) {
            let line = std::str::from_utf8(&received[at..=at + end])?.trim_end().to_owned();
            at += end + 1;
            text.push_str(&line);
            if line.starts_with(tag) {
                anyhow::ensure!(line.starts_with(&format!("{tag} OK")), "{line}");
                return Ok(text);
            }
            let literal = line.strip_suffix('}').and_then(|line| line.rsplit_once('{'));
            if let Some(size) = literal.and_then(|(_, size)| size.parse::<usize>().ok()) {
                while received.len() < at + size {
                    read(client, &mut received).await?;
                }
                at += size;
            }
            received.drain(..at);
            at = 0;
        }
        anyhow::ensure!(received.len() < most, "endless: {}", received.len());
        read(client, &mut received).await?;
    }
}

fn memchr(octets: &[u8], wanted: u8) -> Option<usize> {
    octets.iter().position(|octet| *octet == wanted)
}

async fn read(client: &mut TcpStream, received: &mut Vec<u8>) -> anyhow::Result<()> {
    let before = received.len();
    received.resize(before + 256 * 1024, 0);
    let read = client.read(&mut received[before..]).await?;
    received.truncate(before + read);
    anyhow::ensure!(read > 0, "the connection ended");
    Ok(())
}

/// How deep parentheses lie at most; an error where they are not closed. Quoted strings are passed over.
fn depth(text: &str) -> anyhow::Result<usize> {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth = depth.checked_sub(1).ok_or_else(|| anyhow::anyhow!("closed too often"))?
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    anyhow::ensure!(depth == 0 && !quoted, "{depth} not closed");
    Ok(deepest)
}

#[tokio::test]
async fn whatever_a_message_is_its_structure_is_well_formed_and_bounded() -> anyhow::Result<()> {
    let fixture = Fixture::new()?;
    for (_, text, _) in messages() {
        fixture.add_message("alice", "INBOX", &text)?;
    }
    let server = fixture.start(imap_server::run)?;
    let mut client = TcpStream::connect(server.plain).await?;
    client.write_all(b"a LOGIN alice alice-secret\r\n").await?;
    answer(&mut client, "a", MEBIBYTE).await?;
    client.write_all(b"a SELECT INBOX\r\n").await?;
    answer(&mut client, "a", MEBIBYTE).await?;
    for (number, (what, text, structure)) in messages().into_iter().enumerate() {
        let number = number + 1;
        let most = 2 * text.len() + 8 * MEBIBYTE;
        let mut fetched = async |items: &str| -> anyhow::Result<String> {
            client.write_all(format!("c FETCH {number} {items}\r\n").as_bytes()).await?;
            answer(&mut client, "c", most).await.map_err(|error| error.context(format!("{what}: {items}")))
        };
        let told = fetched("BODYSTRUCTURE").await?;
        let expected = format!("* {number} FETCH (BODYSTRUCTURE {structure}");
        assert!(
            told.to_uppercase().starts_with(&expected),
            "{what}: {}",
            told.chars().take(300).collect::<String>()
        );
        assert!(depth(&told)? < 200, "{what}");
        // Line ends that lack their CR are counted and sent with it.
        let size = fetched("RFC822.SIZE").await?;
        let size =
            size.split_once("RFC822.SIZE ").and_then(|(_, size)| size.split_once(')')).unwrap_or_default().0;
        assert!(size.parse::<usize>()? >= text.len(), "{what}: {size}");
        let whole = fetched("BODY.PEEK[]").await?;
        assert!(whole.contains(&format!("BODY[] {{{size}}}")) || text.is_empty(), "{what}: {whole}");
        for items in [
            "(ENVELOPE BODY INTERNALDATE PREVIEW EMAILID THREADID)",
            "(BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[HEADER.FIELDS (SUBJECT TO)])",
            "(BODY.PEEK[1] BODY.PEEK[1.MIME] BINARY.SIZE[1] BODY.PEEK[9999] BODY.PEEK[1.1.1.1.1.1.1.1.1.1.1.1])",
        ] {
            depth(&fetched(items).await?).map_err(|error| error.context(format!("{what}: {items}")))?;
        }
    }
    for command in [
        "SEARCH TEXT nothing-like-it",
        "SORT (SUBJECT FROM TO DATE) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
        "SEARCH SENTSINCE 1-Jan-2000",
    ] {
        client.write_all(format!("d {command}\r\n").as_bytes()).await?;
        answer(&mut client, "d", MEBIBYTE).await.map_err(|error| error.context(command))?;
    }
    Ok(())
}
