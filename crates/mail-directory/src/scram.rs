//! SCRAM-SHA-256, the server's side. RFC 5802, RFC 7677.
//!
//! The server keeps keys from which nobody can log in, and the client proves that it knows the password without sending it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mail_types::{Address, Secret};
use sha2::{Digest as _, Sha256};

/// What a client must work through for each guess, or login. RFC 7677 §4 asks for 4096 at least.
const ITERATIONS: u32 = 10_000;
const SALT: usize = 16;

/// What is stored of a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ScramKeys {
    salt: Vec<u8>,
    iterations: u32,
    stored: [u8; 32],
    server: [u8; 32],
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramKeys(…)")
    }
}

/// The keys of whom a client claims to be.
#[derive(Debug)]
pub struct ScramClaim {
    /// `None` where nobody can prove anything: the keys are made up, the same at each attempt.
    pub(crate) account: Option<Address>,
    pub(crate) keys: ScramKeys,
}

fn hmac(key: &[u8], text: &[&[u8]]) -> [u8; 32] {
    // A key of any length will do; there is no error.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    text.iter().for_each(|text| mac.update(text));
    mac.finalize().into_bytes().into()
}

impl ScramKeys {
    /// The keys of a password; `None` if it can't be written in the form that RFC 5802 §2.2 asks for.
    pub(crate) fn of(password: &Secret<String>) -> Result<Option<Self>, getrandom::Error> {
        let Ok(prepared) = stringprep::saslprep(password.reveal()) else { return Ok(None) };
        let mut salt = vec![0; SALT];
        getrandom::fill(&mut salt)?;
        Ok(Some(Self::derived(prepared.as_bytes(), salt, ITERATIONS)))
    }

    /// RFC 5802 §3.
    fn derived(password: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, &salt, iterations);
        let stored = Sha256::digest(hmac(&salted, &[b"Client Key"])).into();
        Self { salt, iterations, stored, server: hmac(&salted, &[b"Server Key"]) }
    }

    /// Keys that no password opens, always the same for a name, so that nobody learns from them who exists.
    pub(crate) fn decoy(secret: &[u8], name: &str) -> Self {
        let mut salt = hmac(secret, &[b"salt", name.as_bytes()]).to_vec();
        salt.truncate(SALT);
        let stored = hmac(secret, &[b"stored", name.as_bytes()]);
        Self { salt, iterations: ITERATIONS, stored, server: hmac(secret, &[b"server", name.as_bytes()]) }
    }
}

/// As RFC 5803 writes them.
impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { salt, iterations, stored, server } = self;
        let [salt, stored, server] = [salt.as_slice(), stored, server].map(|it| STANDARD.encode(it));
        write!(f, "SCRAM-SHA-256${iterations}:{salt}${stored}:{server}")
    }
}

impl FromStr for ScramKeys {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parsed = || {
            let (costs, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
            let ((iterations, salt), (stored, server)) = (costs.split_once(':')?, keys.split_once(':')?);
            let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
            let salt = STANDARD.decode(salt).ok()?;
            Some(Self {
                salt,
                iterations: iterations.parse().ok()?,
                stored: key(stored)?,
                server: key(server)?,
            })
        };
        parsed().ok_or(())
    }
}

/// The client's first message, taken apart.
#[derive(Debug)]
pub(crate) struct ClientFirst {
    /// As `c=` must have it.
    header: String,
    bare: String,
    pub(crate) username: String,
    nonce: String,
}

impl ClientFirst {
    /// `client-first-message = gs2-header client-first-message-bare`. RFC 5802 §7.
    ///
    /// A client that wants to be bound to the TLS connection (`p=`) would not have begun this mechanism.
    pub(crate) fn parse(message: &str) -> Option<Self> {
        let mut parts = message.splitn(3, ',');
        let (flag, authzid, bare) = (parts.next()?, parts.next()?, parts.next()?);
        let header = format!("{flag},{authzid},");
        let mut attributes = bare.split(',');
        let username = name(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let is_own = authzid.is_empty() || name(authzid.strip_prefix("a=")?)?.eq_ignore_ascii_case(&username);
        let is_unbound = matches!(flag, "n" | "y");
        let is_nonce = !nonce.is_empty() && nonce.bytes().all(|c| c.is_ascii_graphic());
        (is_unbound && is_own && is_nonce && !username.is_empty()).then(|| Self {
            header,
            bare: bare.to_owned(),
            username,
            nonce: nonce.to_owned(),
        })
    }

    /// Answers with what the client needs to prove itself. `own` is our part of the nonce.
    pub(crate) fn challenge(self, claim: ScramClaim, own: &str) -> (Challenged, String) {
        let nonce = format!("{}{own}", self.nonce);
        let ScramKeys { salt, iterations, .. } = &claim.keys;
        let server_first = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
        let challenged = Challenged {
            begun: format!("{},{server_first},", self.bare),
            header: STANDARD.encode(self.header),
            nonce,
            claim,
        };
        (challenged, server_first)
    }
}

/// `saslname`: `=2C` is a comma, `=3D` an equals sign.
fn name(text: &str) -> Option<String> {
    let escapes = text.split('=').skip(1);
    let is_valid = escapes.clone().all(|rest| rest.starts_with("2C") || rest.starts_with("3D"));
    is_valid.then(|| text.replace("=2C", ",").replace("=3D", "="))
}

/// Waits for the client's proof.
#[derive(Debug)]
pub(crate) struct Challenged {
    /// What both have said, up to the client's last message.
    begun: String,
    header: String,
    nonce: String,
    claim: ScramClaim,
}

impl Challenged {
    /// `client-final-message`: who it is, and our own proof. `None` if the proof is wrong.
    pub(crate) fn verify(self, message: &str) -> Option<(Address, String)> {
        let (unproven, proof) = message.rsplit_once(",p=")?;
        let mut attributes = unproven.split(',');
        let is_bound = attributes.next()?.strip_prefix("c=")? == self.header;
        let is_fresh = attributes.next()?.strip_prefix("r=")? == self.nonce;
        let proof: [u8; 32] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let said = [self.begun.as_bytes(), unproven.as_bytes()];
        let ScramKeys { stored, server, .. } = &self.claim.keys;
        let signature = hmac(stored, &said);
        let mut client_key = [0; 32];
        for (key, (proof, signature)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *key = proof ^ signature;
        }
        let hashed: [u8; 32] = Sha256::digest(client_key).into();
        let is_right =
            hashed.iter().zip(stored).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0;
        let account = self.claim.account.filter(|_| is_bound && is_fresh && is_right)?;
        Some((account, format!("v={}", STANDARD.encode(hmac(server, &said)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 §3.
    fn pencil() -> ScramClaim {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derived(b"pencil", salt, 4096);
        ScramClaim { account: Some("user@example.org".parse().unwrap()), keys }
    }

    #[test]
    fn the_dialogue_of_rfc_7677() {
        let first = ClientFirst::parse("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!(first.username, "user");
        let (challenged, challenge) = first.challenge(pencil(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(
            challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let (account, proof) = challenged.verify(last).unwrap();
        assert_eq!(account.to_string(), "user@example.org");
        assert_eq!(proof, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn another_nonce_binding_or_proof_is_wrong() {
        let right = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        for wrong in [
            right.replace("k0,", "k1,"),
            right.replace("biws", "eSws"),
            right.replace("dHz", "eHz"),
            right.replace(",p=", ",x=1,p="),
            String::new(),
        ] {
            let first = ClientFirst::parse("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
            let (challenged, _) = first.challenge(pencil(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
            assert_eq!(challenged.verify(&wrong), None, "{wrong}");
        }
        let first = ClientFirst::parse("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let nobody = ScramClaim { account: None, ..pencil() };
        let (challenged, _) = first.challenge(nobody, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(challenged.verify(right), None);
    }

    #[test]
    fn names_are_unescaped_and_nobody_acts_for_another() {
        let username = |message: &str| ClientFirst::parse(message).map(|first| first.username);
        assert_eq!(username("n,,n=a=2Cb=3Dc,r=x").as_deref(), Some("a,b=c"));
        assert_eq!(username("n,a=Bob,n=bob,r=x").as_deref(), Some("bob"));
        for refused in [
            "p=tls-exporter,,n=bob,r=x",
            "n,a=tim,n=bob,r=x",
            "n,,n=a=b,r=x",
            "n,,m=x,n=bob,r=x",
            "n,,n=bob",
            "n,,n=,r=x",
            "n,,n=bob,r=",
            "",
        ] {
            assert_eq!(username(refused), None, "{refused}");
        }
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let keys = ScramKeys::of(&Secret::new("secret".to_owned())).unwrap().unwrap();
        assert_eq!(keys.to_string().parse(), Ok(keys.clone()));
        assert!(!keys.to_string().contains("secret"));
        assert_eq!("SCRAM-SHA-256$1:x$y:z".parse::<ScramKeys>(), Err(()));
        assert_eq!(ScramKeys::decoy(b"s", "a"), ScramKeys::decoy(b"s", "a"));
        assert_ne!(ScramKeys::decoy(b"s", "a").salt, ScramKeys::decoy(b"s", "b").salt);
    }
}
