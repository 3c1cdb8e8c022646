//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's side. RFC 5802, RFC 7677.
//!
//! The server keeps keys from which nobody can log in, and the client proves that it knows the password without sending it;
//! with PLUS also that it sees the same TLS connection, with nobody between.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mail_types::{Address, ChannelBindings, Secret};
use sha2::{Digest as _, Sha256};
use tracing::warn;

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

/// What an exchange may be bound to. RFC 5802 §6.
#[derive(Debug)]
pub(crate) enum Binding {
    /// SCRAM-SHA-256 on a connection that can't be bound, so a client that could is right not to be.
    Impossible,
    /// SCRAM-SHA-256 where SCRAM-SHA-256-PLUS is offered too.
    Possible,
    /// SCRAM-SHA-256-PLUS.
    Required(ChannelBindings),
}

/// Why an exchange ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Not what RFC 5802 §7 prescribes.
    Malformed,
    /// The client does not know the password.
    Wrong,
    /// For a reason that the client may know.
    Refused(Unbound),
}

/// Why a login that could be bound to the connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbound {
    /// What was offered was hidden from a client that could have taken it.
    NotTold,
    /// We don't have what it wants to be bound to.
    UnknownBinding,
    /// Its end of the connection is not ours, or what it said was changed on the way.
    OtherConnection,
}

impl Unbound {
    /// For the client.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotTold => "SCRAM-SHA-256-PLUS is offered here, and the client was not told so",
            Self::UnknownBinding => "Channel bindings here are tls-exporter and tls-server-end-point",
            Self::OtherConnection => {
                "The client's end of this connection is not ours: somebody stands between"
            }
        }
    }
}

impl Binding {
    /// What stands behind the `gs2-header` in `c=`, by its `gs2-cbind-flag`.
    fn data(self, flag: &str) -> Result<Vec<u8>, Ended> {
        match (self, flag.strip_prefix("p=")) {
            (Self::Required(bindings), Some("tls-exporter")) => Ok(bindings.exporter.to_vec()),
            (Self::Required(bindings), Some("tls-server-end-point")) => {
                bindings.end_point.map(|hash| hash.to_vec()).ok_or(Ended::Refused(Unbound::UnknownBinding))
            }
            (Self::Required(_), Some(_)) => Err(Ended::Refused(Unbound::UnknownBinding)),
            (Self::Impossible | Self::Possible, None) if flag == "n" => Ok(Vec::new()),
            (Self::Impossible, None) if flag == "y" => Ok(Vec::new()),
            (Self::Possible, None) if flag == "y" => Err(Ended::Refused(Unbound::NotTold)),
            (Self::Required(_) | Self::Impossible | Self::Possible, _) => Err(Ended::Malformed),
        }
    }
}

/// The client's first message, taken apart.
#[derive(Debug)]
pub(crate) struct ClientFirst {
    /// As `c=` must have it, `cbind-input`.
    bound: Vec<u8>,
    bare: String,
    pub(crate) username: String,
    nonce: String,
}

impl ClientFirst {
    /// `client-first-message = gs2-header client-first-message-bare`. RFC 5802 §7.
    pub(crate) fn parse(message: &str, binding: Binding) -> Result<Self, Ended> {
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Ended::Malformed);
        };
        let (username, nonce) = named(authzid, bare).ok_or(Ended::Malformed)?;
        let bound = [format!("{flag},{authzid},").into_bytes(), binding.data(flag)?].concat();
        Ok(Self { bound, bare: bare.to_owned(), username, nonce })
    }

    /// Answers with what the client needs to prove itself. `own` is our part of the nonce.
    pub(crate) fn challenge(self, claim: ScramClaim, own: &str) -> (Challenged, String) {
        let nonce = format!("{}{own}", self.nonce);
        let ScramKeys { salt, iterations, .. } = &claim.keys;
        let server_first = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
        let challenged = Challenged {
            begun: format!("{},{server_first},", self.bare),
            bound: STANDARD.encode(self.bound),
            nonce,
            claim,
        };
        (challenged, server_first)
    }
}

/// The user name and the client's nonce. Nobody may act for another.
fn named(authzid: &str, bare: &str) -> Option<(String, String)> {
    let mut attributes = bare.split(',');
    let username = name(attributes.next()?.strip_prefix("n=")?)?;
    let nonce = attributes.next()?.strip_prefix("r=")?;
    let is_own = authzid.is_empty() || name(authzid.strip_prefix("a=")?)?.eq_ignore_ascii_case(&username);
    let is_nonce = !nonce.is_empty() && nonce.bytes().all(|c| c.is_ascii_graphic());
    (is_own && is_nonce && !username.is_empty()).then(|| (username, nonce.to_owned()))
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
    bound: String,
    nonce: String,
    claim: ScramClaim,
}

impl Challenged {
    /// `client-final-message`: who it is, and our own proof.
    pub(crate) fn verify(self, message: &str) -> Result<(Address, String), Ended> {
        let last = ClientFinal::parse(message).ok_or(Ended::Wrong)?;
        let said = [self.begun.as_bytes(), last.unproven.as_bytes()];
        let ScramKeys { stored, server, .. } = &self.claim.keys;
        let signature = hmac(stored, &said);
        let mut client_key = [0; 32];
        for (key, (proof, signature)) in client_key.iter_mut().zip(last.proof.iter().zip(signature)) {
            *key = proof ^ signature;
        }
        let hashed: [u8; 32] = Sha256::digest(client_key).into();
        let is_right =
            hashed.iter().zip(stored).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0;
        let is_fresh = last.nonce == self.nonce;
        let account = self.claim.account.filter(|_| is_fresh && is_right).ok_or(Ended::Wrong)?;
        if last.bound != self.bound {
            // Who knows the password says that the connection, or what it said first, is another one at its end.
            warn!(%account, "a login was refused: {}", Unbound::OtherConnection.text());
            return Err(Ended::Refused(Unbound::OtherConnection));
        }
        Ok((account, format!("v={}", STANDARD.encode(hmac(server, &said)))))
    }
}

/// `client-final-message`, taken apart.
struct ClientFinal<'a> {
    unproven: &'a str,
    bound: &'a str,
    nonce: &'a str,
    proof: [u8; 32],
}

impl<'a> ClientFinal<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let (unproven, proof) = message.rsplit_once(",p=")?;
        let mut attributes = unproven.split(',');
        let bound = attributes.next()?.strip_prefix("c=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let proof = STANDARD.decode(proof).ok()?.try_into().ok()?;
        Some(Self { unproven, bound, nonce, proof })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    impl ScramKeys {
        pub(crate) fn are_of(&self, password: &str) -> bool {
            *self == Self::derived(password.as_bytes(), self.salt.clone(), self.iterations)
        }
    }

    /// RFC 7677 §3.
    fn pencil() -> ScramClaim {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derived(b"pencil", salt, 4096);
        ScramClaim { account: Some("user@example.org".parse().unwrap()), keys }
    }

    fn bindings() -> ChannelBindings {
        ChannelBindings { exporter: [7; 32], end_point: Some(b"hash of a certificate".as_slice().into()) }
    }

    fn begin(header: &str, binding: Binding) -> Result<Challenged, Ended> {
        let first = ClientFirst::parse(&format!("{header}{FIRST}"), binding)?;
        assert_eq!(first.username, "user");
        Ok(first.challenge(pencil(), SERVER_NONCE).0)
    }

    /// The last message of a client that knows the password, with this `cbind-input`.
    fn last(challenged: &Challenged, bound: &[u8]) -> String {
        let unproven = format!("c={},r={}", STANDARD.encode(bound), challenged.nonce);
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(b"pencil", &challenged.claim.keys.salt, 4096);
        let key = hmac(&salted, &[b"Client Key"]);
        let signature =
            hmac(&challenged.claim.keys.stored, &[challenged.begun.as_bytes(), unproven.as_bytes()]);
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
        format!("{unproven},p={}", STANDARD.encode(proof))
    }

    #[test]
    fn the_dialogue_of_rfc_7677() {
        let first = ClientFirst::parse(&format!("n,,{FIRST}"), Binding::Impossible).unwrap();
        let (challenged, challenge) = first.challenge(pencil(), SERVER_NONCE);
        assert_eq!(
            challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        assert_eq!(last(&challenged, b"n,,"), LAST);
        let (account, proof) = challenged.verify(LAST).unwrap();
        assert_eq!(account.to_string(), "user@example.org");
        assert_eq!(proof, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn another_nonce_header_or_proof_is_wrong() {
        for wrong in [
            LAST.replace("k0,", "k1,"),
            LAST.replace("biws", "eSws"),
            LAST.replace("dHz", "eHz"),
            LAST.replace(",p=", ",x=1,p="),
            String::new(),
        ] {
            assert_eq!(begin("n,,", Binding::Possible).unwrap().verify(&wrong), Err(Ended::Wrong), "{wrong}");
        }
        let first = ClientFirst::parse(&format!("n,,{FIRST}"), Binding::Impossible).unwrap();
        let nobody = ScramClaim { account: None, ..pencil() };
        assert_eq!(first.challenge(nobody, SERVER_NONCE).0.verify(LAST), Err(Ended::Wrong));
    }

    #[test]
    fn plus_binds_to_the_connection_or_to_the_certificate() {
        for (kind, data) in
            [("tls-exporter", &[7; 32][..]), ("tls-server-end-point", b"hash of a certificate")]
        {
            let header = format!("p={kind},,");
            let bound = [header.as_bytes(), data].concat();
            let challenged = begin(&header, Binding::Required(bindings())).unwrap();
            let right = last(&challenged, &bound);
            assert!(challenged.verify(&right).is_ok(), "{kind}");
        }
    }

    /// RFC 5802 §6: the password is right, the connection is not.
    #[test]
    fn other_binding_data_is_refused() {
        let others: [&[u8]; 5] = [
            &[b"p=tls-exporter,,".as_slice(), &[8; 32]].concat(),
            b"p=tls-exporter,,",
            b"p=tls-exporter,,hash of a certificate",
            &[b"p=tls-server-end-point,,".as_slice(), &[7; 32]].concat(),
            b"n,,",
        ];
        for bound in others {
            let challenged = begin("p=tls-exporter,,", Binding::Required(bindings())).unwrap();
            let message = last(&challenged, bound);
            assert_eq!(
                challenged.verify(&message),
                Err(Ended::Refused(Unbound::OtherConnection)),
                "{bound:?}"
            );
        }
        // Who stands between made `n` of the client's `y`.
        let challenged = begin("n,,", Binding::Possible).unwrap();
        let message = last(&challenged, b"y,,");
        assert_eq!(challenged.verify(&message), Err(Ended::Refused(Unbound::OtherConnection)));
    }

    #[test]
    fn a_binding_that_we_have_not_is_refused() {
        for header in ["p=tls-unique,,", "p=tls-exporte,,", "p=,,"] {
            let refused = begin(header, Binding::Required(bindings()));
            assert_eq!(refused.err(), Some(Ended::Refused(Unbound::UnknownBinding)), "{header}");
        }
        // RFC 5929 §4.1: not every certificate has a hash.
        let without = ChannelBindings { end_point: None, ..bindings() };
        let refused = begin("p=tls-server-end-point,,", Binding::Required(without));
        assert_eq!(refused.err(), Some(Ended::Refused(Unbound::UnknownBinding)));
    }

    /// RFC 5802 §6.
    #[test]
    fn who_was_not_told_of_plus_is_refused_where_it_is_offered() {
        assert_eq!(begin("y,,", Binding::Possible).err(), Some(Ended::Refused(Unbound::NotTold)));
        for (header, binding) in
            [("y,,", Binding::Impossible), ("n,,", Binding::Impossible), ("n,,", Binding::Possible)]
        {
            let challenged = begin(header, binding).unwrap();
            let right = last(&challenged, header.as_bytes());
            assert!(challenged.verify(&right).is_ok(), "{header}");
        }
    }

    /// RFC 5802 §6: `p` with PLUS, and only with PLUS.
    #[test]
    fn the_flag_must_fit_the_mechanism() {
        for (header, binding) in [
            ("n,,", Binding::Required(bindings())),
            ("y,,", Binding::Required(bindings())),
            ("p=tls-exporter,,", Binding::Possible),
            ("p=tls-exporter,,", Binding::Impossible),
            ("x,,", Binding::Impossible),
            ("N,,", Binding::Impossible),
            ("p,,", Binding::Required(bindings())),
        ] {
            assert_eq!(begin(header, binding).err(), Some(Ended::Malformed), "{header}");
        }
    }

    #[test]
    fn names_are_unescaped_and_nobody_acts_for_another() {
        let username =
            |message: &str| ClientFirst::parse(message, Binding::Impossible).map(|first| first.username);
        assert_eq!(username("n,,n=a=2Cb=3Dc,r=x"), Ok("a,b=c".to_owned()));
        assert_eq!(username("n,a=Bob,n=bob,r=x"), Ok("bob".to_owned()));
        for refused in [
            "n,a=tim,n=bob,r=x",
            "n,,n=a=b,r=x",
            "n,,m=x,n=bob,r=x",
            "n,,n=bob",
            "n,,n=,r=x",
            "n,,n=bob,r=",
            "",
        ] {
            assert_eq!(username(refused), Err(Ended::Malformed), "{refused}");
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
