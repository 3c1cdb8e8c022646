//! Against a real DNS server and over real HTTPS.

use anyhow::Result;
use mail_config::Config;
use testkit::{TestAuthority, TestDns, TestWeb};

use super::*;
use crate::{Mode, Trust};

const ZONE: &str = "
mta-sts.good.test. A 127.0.0.1
mta-sts.twice.test. A 127.0.0.1
mta-sts.gone.test. A 127.0.0.1
mta-sts.moved.test. A 127.0.0.1
mta-sts.html.test. A 127.0.0.1
mta-sts.long.test. A 127.0.0.1
mta-sts.other.test. A 127.0.0.1
mta-sts.foreign.test. A 127.0.0.1
_mta-sts.good.test. TXT \"v=STSv1; id=1;\"
_mta-sts.twice.test. TXT \"v=STSv1; id=1;\"
_mta-sts.twice.test. TXT \"v=STSv1; id=2;\"
_mta-sts.gone.test. TXT \"v=STSv1; id=1;\"
_mta-sts.moved.test. TXT \"v=STSv1; id=1;\"
_mta-sts.html.test. TXT \"v=STSv1; id=1;\"
_mta-sts.long.test. TXT \"v=STSv1; id=1;\"
_mta-sts.other.test. TXT \"v=STSv1; id=1;\"
_mta-sts.foreign.test. TXT \"v=STSv1; id=1;\"
_mta-sts.noweb.test. TXT \"v=STSv1; id=1;\"
";
const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx.good.test\r\nmax_age: 86400\r\n";
const WEB_NAMES: [&str; 7] = [
    "mta-sts.good.test",
    "mta-sts.twice.test",
    "mta-sts.gone.test",
    "mta-sts.moved.test",
    "mta-sts.html.test",
    "mta-sts.long.test",
    "mta-sts.other.test",
];

struct World {
    web: TestWeb,
    authority: TestAuthority,
    folder: tempfile::TempDir,
    _dns: TestDns,
    config: Config,
}

fn place(domain: &str) -> String {
    format!("mta-sts.{domain}/.well-known/mta-sts.txt")
}

impl World {
    async fn new() -> Result<Self> {
        let server = spawn_blocking(|| TestDns::start(ZONE)).await??;
        let authority = TestAuthority::new()?;
        let web = TestWeb::start(authority.identity(&WEB_NAMES)?.acceptor).await?;
        let folder = tempfile::tempdir()?;
        let mut config = Config::new("us.example.org".parse()?, folder.path().to_owned());
        config.dns = server.config();
        config.relay.security.ca_file = Some(authority.ca_file.clone());
        config.relay.security.https_port = web.address.port();
        Ok(Self { web, authority, folder, _dns: server, config })
    }

    fn trust(&self) -> Result<Trust> {
        Ok(Trust::open(&self.config, &Dns::new(&self.config.dns)?)?)
    }

    /// The domain's record says from now on that it has this policy.
    async fn renamed(&mut self, id: &str) -> Result<()> {
        let zone = format!("mta-sts.good.test. A 127.0.0.1\n_mta-sts.good.test. TXT \"v=STSv1; id={id};\"\n");
        let server = spawn_blocking(move || TestDns::start(&zone)).await??;
        self.config.dns = server.config();
        self._dns = server;
        Ok(())
    }
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_kept_over_a_restart() -> Result<()> {
    let world = World::new().await?;
    world.web.put(&place("good.test"), "text/plain; charset=utf-8", POLICY);
    for _ in 0..2 {
        let trust = world.trust()?;
        let found = futures(&trust).await;
        assert!(found.iter().all(|it| it.policy.as_ref().unwrap().hosts == ["mx.good.test"]), "{found:?}");
    }
    let requests = world.web.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!((requests[0].method.as_str(), requests[0].host.as_str()), ("GET", "mta-sts.good.test"));
    Ok(())
}

/// Several who ask at once.
async fn futures(trust: &Trust) -> Vec<Found> {
    let (a, b, c) =
        tokio::join!(trust.policy("good.test"), trust.policy("good.test"), trust.policy("good.test"));
    vec![a, b, c]
}

/// RFC 8461 §3.3, §5.1
#[tokio::test]
async fn another_id_has_the_policy_fetched_anew_and_what_fails_leaves_the_one_that_is_kept() -> Result<()> {
    let mut world = World::new().await?;
    world.web.put(&place("good.test"), "text/plain", POLICY);
    assert_eq!(world.trust()?.policy("good.test").await.policy.unwrap().mode, Mode::Enforce);

    world.renamed("2").await?;
    world.web.put(&place("good.test"), "text/plain", &POLICY.replace("enforce", "testing"));
    assert_eq!(world.trust()?.policy("good.test").await.policy.unwrap().mode, Mode::Testing);

    world.renamed("3").await?;
    world.web.answer(&place("good.test"), "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let trust = world.trust()?;
    let asked = world.web.requests().len();
    for _ in 0..3 {
        let found = trust.policy("good.test").await;
        assert_eq!(found.policy.unwrap().mode, Mode::Testing);
        assert_eq!(found.failure.unwrap().kind, Kind::StsPolicyFetchError);
    }
    assert_eq!(world.web.requests().len(), asked + 1, "not asked again at once");
    Ok(())
}

#[tokio::test]
async fn a_policy_that_is_in_use_is_renewed_before_it_expires_and_goes_when_it_has() -> Result<()> {
    let world = World::new().await?;
    world.web.put(&place("good.test"), "text/plain", POLICY);
    let trust = world.trust()?;
    trust.policy("good.test").await;
    trust.renew().await;
    assert_eq!(world.web.requests().len(), 1, "fresh still");
    let age = |seconds: i64| {
        let database = Database::open(&world.config.trust_file()).unwrap();
        let kept = database.policy("good.test", Timestamp::now()).unwrap().unwrap();
        let (fetched, expires) = (kept.fetched - seconds, kept.expires - seconds);
        database.keep("good.test", &Kept { fetched, expires: expires.max(kept.used + 60), ..kept }).unwrap();
    };
    age(25 * 3600);
    trust.renew().await;
    assert_eq!(world.web.requests().len(), 2);
    let kept = Database::open(&world.config.trust_file())?.policy("good.test", Timestamp::now())?.unwrap();
    assert!(kept.expires > Timestamp::now().as_second() + 86_000);
    let later = Timestamp::now() + SignedDuration::from_hours(25);
    assert_eq!(Database::open(&world.config.trust_file())?.policy("good.test", later)?, None);
    Ok(())
}

/// RFC 8461 §3.1, §3.3
#[tokio::test]
async fn there_is_no_policy_where_it_is_not_said_or_not_served_as_it_must_be() -> Result<()> {
    let world = World::new().await?;
    world.web.put(&place("twice.test"), "text/plain", POLICY);
    let moved = format!(
        "HTTP/1.1 301 Moved\r\nLocation: https://{}\r\nContent-Length: 0\r\n\r\n",
        place("good.test")
    );
    world.web.put(&place("good.test"), "text/plain", POLICY);
    world.web.answer(&place("moved.test"), &moved);
    world.web.put(&place("html.test"), "text/html", POLICY);
    world.web.put(&place("long.test"), "text/plain", &format!("{POLICY}{}", "x: y\r\n".repeat(12_000)));
    world.web.put(&place("other.test"), "text/plain", "Welcome!");
    let trust = world.trust()?;
    for (domain, expected) in [
        ("none.test", None),
        ("twice.test", None),
        ("gone.test", Some(Kind::StsPolicyFetchError)),
        ("moved.test", Some(Kind::StsPolicyFetchError)),
        ("html.test", Some(Kind::StsPolicyInvalid)),
        ("long.test", Some(Kind::StsPolicyFetchError)),
        ("other.test", Some(Kind::StsPolicyInvalid)),
        ("foreign.test", Some(Kind::StsWebpkiInvalid)),
        ("noweb.test", Some(Kind::StsPolicyFetchError)),
    ] {
        let found = trust.policy(domain).await;
        assert!(found.policy.is_none(), "{domain}: {found:?}");
        assert_eq!(found.failure.map(|it| it.kind), expected, "{domain}");
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_host_must_prove_its_name_to_an_authority_that_is_trusted() -> Result<()> {
    let mut world = World::new().await?;
    world.web.put(&place("good.test"), "text/plain", POLICY);
    let other = TestAuthority::new()?;
    world.config.relay.security.ca_file = Some(other.ca_file.clone());
    let found = world.trust()?.policy("good.test").await;
    assert_eq!(found.failure.map(|it| it.kind), Some(Kind::StsWebpkiInvalid));
    world.config.relay.security.ca_file = Some(world.authority.ca_file.clone());
    assert!(world.trust()?.policy("good.test").await.policy.is_some());
    Ok(())
}

#[tokio::test]
async fn a_damaged_database_is_put_aside_and_its_policies_are_fetched_again() -> Result<()> {
    let world = World::new().await?;
    world.web.put(&place("good.test"), "text/plain", POLICY);
    std::fs::write(
        world.config.trust_file(),
        "this is no database, and long enough to be told from one".repeat(100),
    )?;
    assert!(world.trust()?.policy("good.test").await.policy.is_some());
    assert!(world.folder.path().join("trust.sqlite.damaged").exists());
    Ok(())
}
