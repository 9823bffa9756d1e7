//! The registry of one process and the one in etcd, held to the same; and what is etcd's alone: that it may be gone for a while.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster_wire::record::{Health, NodeRecord, ServerLoad, ServerRecord};
use model::GuildId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use registry::limits::LOAD_EVERY;
use registry::{Change, Claim, EtcdTls, Registry, RegistryError};
use support::{draining, id, server};
use tempfile::TempDir;
use tokio::time::timeout;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The shortest that etcd knows; real time, because it is another process's.
const TTL: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(600);

/// etcd at an address of this test's own, so that its ports are nobody else's.
struct Etcd {
    process: Child,
    host: String,
    data: TempDir,
    /// Speaks TLS, and lets in only whom this authority knows.
    authority: Option<Authority>,
}

impl Etcd {
    fn start(n: u8) -> Self {
        let pid = std::process::id();
        let host = format!("127.{}.{}.{n}", 1 + pid / 256 % 250, pid % 256);
        Self::of(host, None)
    }

    fn of(host: String, authority: Option<Authority>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let process = Self::spawn(&host, &data, authority.as_ref());
        Self { process, host, data, authority }
    }

    fn endpoints(&self) -> [String; 1] {
        [format!("{}://{}:2379", if self.authority.is_some() { "https" } else { "http" }, self.host)]
    }

    fn spawn(host: &str, data: &TempDir, authority: Option<&Authority>) -> Child {
        let scheme = if authority.is_some() { "https" } else { "http" };
        let (client, peer) = (format!("{scheme}://{host}:2379"), format!("http://{host}:2380"));
        let mut process = Command::new("etcd");
        if let Some(authority) = authority {
            process.arg("--client-cert-auth");
            for (option, file) in
                [("--trusted-ca-file", "ca.pem"), ("--cert-file", "etcd.pem"), ("--key-file", "etcd.key")]
            {
                process.arg(option).arg(authority.files.path().join(file));
            }
        }
        let mut process = process
            .args(["--name", "one", "--logger", "zap", "--log-outputs", "stderr", "--data-dir"])
            .arg(data.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcd is installed: run `cargo x test`");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let is_ready =
            lines.by_ref().map_while(Result::ok).any(|line| line.contains("serving client traffic"));
        assert!(is_ready, "etcd ended at once");
        // It goes on logging, and must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        process
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.process = Self::spawn(&self.host, &self.data, self.authority.as_ref());
    }

    async fn registry(&self, prefix: &str, ttl: Duration) -> Registry {
        Registry::etcd(&self.endpoints(), prefix, ttl, None).await.unwrap()
    }
}

/// An authority, and a certificate of it for etcd.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

impl Authority {
    fn new(host: &str) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let this = Self { issuer, files: tempfile::tempdir().unwrap() };
        let (certificate, key) = this.certify(host);
        for (file, text) in [("ca.pem", this.issuer.pem()), ("etcd.pem", certificate), ("etcd.key", key)] {
            std::fs::write(this.files.path().join(file), text).unwrap();
        }
        this
    }

    /// A certificate and its key.
    fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new([name.to_owned()]).unwrap();
        certificate.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (certificate.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn tls(&self, name: Option<&str>) -> EtcdTls {
        let identity = name.map(|name| {
            let (certificate, key) = self.certify(name);
            (certificate.into_bytes(), key.into_bytes())
        });
        EtcdTls { ca: self.issuer.pem().into_bytes(), identity }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it happens in time")
}

/// What every registry does, whatever it is made of.
async fn behaves(registry: &Registry) {
    let mut a = registry.publish(server("a")).await.unwrap();
    let mut watch = registry.watch().await.unwrap();
    a.update(draining("a")).await.unwrap();
    // Nothing changed, so nothing is told.
    a.update(draining("a")).await.unwrap();
    let b = registry.publish(server("b")).await.unwrap();
    assert_eq!(watch.snapshot(), [server("a")]);
    assert_eq!(watch.snapshot(), []);
    assert_eq!(soon(watch.next()).await, Ok(Change::Put(draining("a"))));
    assert_eq!(soon(watch.next()).await, Ok(Change::Put(server("b"))));
    drop(a);
    assert_eq!(soon(watch.next()).await, Ok(Change::Gone(id("a"))));
    b.leave().await.unwrap();
    assert_eq!(registry.watch().await.unwrap().snapshot(), [], "it is known at once");
    assert_eq!(soon(watch.next()).await, Ok(Change::Gone(id("b"))));

    let _a = registry.publish(server("a")).await.unwrap();
    let elsewhere = ServerRecord { endpoint: "other.example:443".to_owned(), ..server("a") };
    assert_eq!(registry.publish(elsewhere).await.unwrap_err(), RegistryError::IdInUse(id("a")));
    assert_eq!(registry.watch().await.unwrap().snapshot(), [server("a")]);

    owns_guilds(registry).await;
}

fn node(name: &str) -> NodeRecord {
    NodeRecord { name: name.to_owned(), address: format!("{name}.example:7000") }
}

async fn owns_guilds(registry: &Registry) {
    let (one, two) = (GuildId(1), GuildId(2));
    let mut nodes = registry.watch_nodes().await.unwrap();
    assert_eq!(soon(nodes.next()).await.unwrap(), []);
    let x = registry.join(node("x")).await.unwrap();
    let y = registry.join(node("y")).await.unwrap();
    assert_eq!(soon(nodes.next()).await.unwrap().first(), Some(&node("x")));
    assert_ne!(x.worker(), y.worker());
    let elsewhere = NodeRecord { address: "other.example:1".to_owned(), ..node("x") };
    assert_eq!(registry.join(elsewhere).await.unwrap_err(), RegistryError::IdInUse(id("x")));

    let mut last = 0;
    let mut newer = |claim| match claim {
        Claim::Ours(fencing) if fencing > last => last = fencing,
        other => panic!("{other:?} after {last}"),
    };
    newer(x.claim(one).await.unwrap());
    newer(x.claim(two).await.unwrap());
    newer(x.claim(two).await.unwrap());
    assert_eq!(y.claim(one).await.unwrap(), Claim::Others("x".to_owned()));
    y.release(one).await.unwrap();
    assert_eq!(y.claim(one).await.unwrap(), Claim::Others("x".to_owned()), "only the owner gives up");
    x.release(one).await.unwrap();
    newer(y.claim(one).await.unwrap());
    x.renew().await.unwrap();
    x.leave().await.unwrap();
    newer(y.claim(two).await.unwrap());
    let left = async {
        loop {
            if nodes.next().await.unwrap() == [node("y")] {
                return;
            }
        }
    };
    soon(left).await;
}

/// A server that says nothing is gone, and cannot go on where it stopped.
async fn lapses(registry: &Registry) {
    let mut watch = registry.watch().await.unwrap();
    let mut a = registry.publish(server("a")).await.unwrap();
    assert_eq!(soon(watch.next()).await, Ok(Change::Put(server("a"))));
    assert_eq!(soon(watch.next()).await, Ok(Change::Gone(id("a"))));
    assert_eq!(a.update(server("a")).await, Err(RegistryError::Lapsed(id("a"))));
    let _again = registry.publish(server("a")).await.unwrap();
    assert_eq!(soon(watch.next()).await, Ok(Change::Put(server("a"))));
    // What is left of the old registration cannot touch the new one.
    assert_eq!(a.update(draining("a")).await, Err(RegistryError::Lapsed(id("a"))));
    drop(a);
    assert_eq!(registry.watch().await.unwrap().snapshot(), [server("a")]);
}

#[tokio::test]
async fn both_registries_behave_alike() {
    let etcd = Etcd::start(1);
    behaves(&Registry::memory(LONG)).await;
    behaves(&etcd.registry("behaves/", LONG).await).await;
    lapses(&Registry::memory(TTL)).await;
    lapses(&etcd.registry("lapses/", TTL).await).await;
}

#[tokio::test]
async fn registries_under_other_prefixes_do_not_see_each_other() {
    let etcd = Etcd::start(2);
    let (one, other) = (etcd.registry("one/", LONG).await, etcd.registry("other/", LONG).await);
    let mut watch = other.watch().await.unwrap();
    let _a = one.publish(server("a")).await.unwrap();
    let _b = other.publish(server("b")).await.unwrap();
    assert_eq!(soon(watch.next()).await, Ok(Change::Put(server("b"))));
    assert_eq!(one.watch().await.unwrap().snapshot(), [server("a")]);
}

/// Its revisions begin again, but nobody who has seen the old numbers may take the new ones for older.
#[tokio::test]
async fn an_etcd_that_was_emptied_gives_higher_numbers_all_the_same() {
    let mut etcd = Etcd::start(6);
    // It has been in use for ten minutes, and has written much.
    let minutes = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
    let mut client = etcd_client::Client::connect([format!("{}:2379", etcd.host)], None).await.unwrap();
    for _ in 0..100 {
        client.put("emptied/epoch", (minutes - 10).to_string(), None).await.unwrap();
    }
    let claim = async |etcd: &Etcd| {
        let x = etcd.registry("emptied/", LONG).await.join(node("x")).await.unwrap();
        let Claim::Ours(fencing) = x.claim(GuildId(1)).await.unwrap() else { panic!("nobody else is there") };
        fencing
    };
    let before = claim(&etcd).await;
    etcd.kill();
    etcd.data = tempfile::tempdir().unwrap();
    etcd.start_again();
    let after = claim(&etcd).await;
    assert!(after > before, "{after} follows {before}");
    let revision = |fencing: u64| fencing & ((1 << 38) - 1);
    assert!(revision(after) < revision(before), "it began again");
}

/// It holds the address that the record names, so the one before it is dead.
#[tokio::test]
async fn a_server_that_crashed_takes_its_place_again_at_once() {
    let etcd = Etcd::start(3);
    let registry = etcd.registry("crash/", LONG).await;
    let mut before = registry.publish(server("a")).await.unwrap();
    let mut after = registry.publish(draining("a")).await.unwrap();
    assert_eq!(registry.watch().await.unwrap().snapshot(), [draining("a")]);
    let changed = ServerRecord { capacity: 7, ..server("a") };
    assert_eq!(before.update(changed).await, Err(RegistryError::Lapsed(id("a"))));
    drop(before);
    after.update(server("a")).await.unwrap();
    assert_eq!(registry.watch().await.unwrap().snapshot(), [server("a")]);
}

#[tokio::test]
async fn an_etcd_that_was_gone_for_a_while_has_lost_nothing() {
    let mut etcd = Etcd::start(4);
    let registry = etcd.registry("gone/", LONG).await;
    let mut a = registry.publish(server("a")).await.unwrap();
    let x = registry.join(node("x")).await.unwrap();
    let claimed = x.claim(GuildId(1)).await.unwrap();
    let mut watch = registry.watch().await.unwrap();
    etcd.kill();
    assert!(matches!(soon(watch.next()).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(soon(a.update(draining("a"))).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(soon(registry.watch()).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(soon(x.claim(GuildId(1))).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(soon(x.renew()).await, Err(RegistryError::Unavailable(_))));
    assert!(matches!(soon(registry.publish(server("b"))).await, Err(RegistryError::Unavailable(_))));

    etcd.start_again();
    // The client's connections come back in their own time.
    let back = async {
        loop {
            if let Ok(watch) = registry.watch().await {
                return watch;
            }
        }
    };
    assert_eq!(soon(back).await.snapshot(), [server("a")]);
    // The same registration goes on, with what could not be said.
    a.update(draining("a")).await.unwrap();
    assert_eq!(registry.watch().await.unwrap().snapshot(), [draining("a")]);
    // The lease begins anew with etcd, so whoever speaks soon has lost nothing.
    x.renew().await.unwrap();
    let Claim::Ours(before) = claimed else { panic!("{claimed:?}") };
    let again = x.claim(GuildId(1)).await.unwrap();
    assert!(matches!(again, Claim::Ours(after) if after > before), "{again:?} follows {before}");
}

#[tokio::test]
async fn a_node_that_is_silent_loses_its_guilds_and_learns_of_it() {
    let etcd = Etcd::start(5);
    let registry = etcd.registry("silent/", LONG).await;
    let (x, y) = (registry.join(node("x")).await.unwrap(), registry.join(node("y")).await.unwrap());
    assert!(matches!(x.claim(GuildId(1)).await.unwrap(), Claim::Ours(_)));
    let taken = async {
        loop {
            y.renew().await.unwrap();
            if let Claim::Ours(fencing) = y.claim(GuildId(1)).await.unwrap() {
                return fencing;
            }
        }
    };
    let fencing = soon(taken).await;
    assert_eq!(x.renew().await, Err(RegistryError::Lapsed(id("x"))));
    assert!(x.claim(GuildId(2)).await.is_err(), "nothing is held under a lease that has ended");
    // A process that begins again in its own place has its own guilds at once.
    drop(x);
    let after = registry.join(node("y")).await.unwrap();
    let again = after.claim(GuildId(1)).await.unwrap();
    assert!(matches!(again, Claim::Ours(newer) if newer > fencing), "{again:?} follows {fencing}");
}

/// A load is another one each second, and etcd keeps whatever was written.
#[tokio::test]
async fn a_change_of_load_alone_waits_for_its_turn_and_any_other_is_written_at_once() {
    let etcd = Etcd::start(5);
    let registry = etcd.registry("load/", LONG).await;
    let mut a = registry.publish(server("a")).await.unwrap();
    let mut watch = registry.watch().await.unwrap();
    let with = |participants| {
        let load = ServerLoad { participants, ..ServerLoad::default() };
        ServerRecord { load, ..server("a") }
    };
    let mut now = server("a");
    let moved = ServerRecord { endpoint: "other.example:443".to_owned(), ..with(3) };
    let full = with(server("a").capacity);
    for next in [draining("a"), ServerRecord { health: Health::Flooded, ..with(2) }, moved, full, with(5)] {
        for packets_in_per_s in 1..=5 {
            now.load.packets_in_per_s = packets_in_per_s;
            a.update(now.clone()).await.unwrap();
        }
        a.update(next.clone()).await.unwrap();
        // What is told next is not the load.
        assert_eq!(soon(watch.next()).await, Ok(Change::Put(next.clone())));
        now = next;
    }
    let written_at = Instant::now();
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    let told = async {
        loop {
            tokio::select! {
                change = watch.next() => return change,
                _ = beat.tick() => a.update(with(6)).await.unwrap(),
            }
        }
    };
    assert_eq!(soon(told).await, Ok(Change::Put(with(6))));
    // The answer to the last write came before it was told.
    let waited = written_at.elapsed();
    assert!(waited + Duration::from_secs(1) >= LOAD_EVERY, "{waited:?}");
}

#[tokio::test]
async fn over_tls_both_sides_show_who_they_are() {
    let pid = std::process::id();
    let host = format!("127.{}.{}.7", 1 + pid / 256 % 250, pid % 256);
    let etcd = Etcd::of(host.clone(), Some(Authority::new(&host)));
    let authority = etcd.authority.as_ref().unwrap();
    let connect =
        |tls| async { soon(Registry::etcd(&etcd.endpoints(), "tls/", LONG, Some(tls))).await.map(drop) };
    let ours =
        Registry::etcd(&etcd.endpoints(), "tls/", LONG, Some(authority.tls(Some("node")))).await.unwrap();
    let _a = ours.publish(server("a")).await.unwrap();
    assert_eq!(ours.watch().await.unwrap().snapshot(), [server("a")]);
    // Who shows nothing is not let in, and an etcd of another authority's is not believed.
    let stranger = Authority::new("stranger");
    for refused in [authority.tls(None), stranger.tls(Some("node"))] {
        let said = connect(refused).await;
        assert!(matches!(said, Err(RegistryError::Unavailable(_))), "{said:?}");
    }
}

#[tokio::test]
async fn an_address_where_no_etcd_is_is_noticed_at_once() {
    let endpoints = ["http://127.0.0.1:1".to_owned()];
    let refused = soon(Registry::etcd(&endpoints, "x/", TTL, None)).await;
    assert!(matches!(refused, Err(RegistryError::Unavailable(_))), "{refused:?}");
    let nonsense = Registry::etcd(&["nonsense of an address".to_owned()], "x/", TTL, None).await;
    assert!(matches!(nonsense, Err(RegistryError::Unavailable(_))), "{nonsense:?}");
}
