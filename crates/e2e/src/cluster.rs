//! A whole cluster on this machine: etcd, PostgreSQL, and every role as processes of their own, any of which may be killed and started again. All
//! of it beside the tests, or each on a host of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::distance::Distance;
use crate::etcd::Etcd;
use crate::hosts::{Lan, MACHINE, Place};
use crate::server::READY_WITHIN;
use crate::{Running, Server, postgres};

/// Of a voice server that has a host; each further shard's is the next.
pub const MEDIA_PORT: u16 = 50_000;

/// Debian's libfaketime, found by the system's linker wherever it is.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Guilds,
    Voice,
    Gateway,
}

impl Role {
    fn command(self) -> &'static str {
        match self {
            Self::Guilds => "guilds",
            Self::Voice => "voice",
            Self::Gateway => "gateway",
        }
    }
}

/// What outlives its processes.
struct Node {
    folder: TempDir,
    options: Vec<String>,
    place: Place,
}

pub struct Cluster {
    nodes: BTreeMap<(Role, String), (Node, Option<Running>)>,
    gateways: Gateways,
    key: TempDir,
    pub etcd: Etcd,
    database: String,
    pub postgres: postgres::Server,
    /// What each node that is added from now on takes for the time is a file in here.
    clocks: Option<TempDir>,
    /// Between the database and those who were added since.
    distance: Option<Distance>,
    /// Goes after everything that lives in it.
    lan: Option<Lan>,
}

impl Cluster {
    /// etcd and a database, and nobody yet.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// The same, where each node has a host of its own, which is called as it is; so have `etcd` and `postgres`.
    pub fn on_hosts() -> Self {
        Self::with(Some(Lan::new()))
    }

    fn with(mut lan: Option<Lan>) -> Self {
        let key = tempfile::tempdir().expect("a temporary folder");
        let file = key.path().join("cluster.key");
        let made = Command::new(crate::guildhall()).arg("cluster-key").arg(&file).output();
        assert!(made.is_ok_and(|out| out.status.success()), "`guildhall cluster-key` failed");
        let (postgres, database) = match &mut lan {
            None => {
                let postgres = postgres::Server::start();
                let database = postgres.create_database("guildhall");
                (postgres, database)
            }
            Some(lan) => database_on(&lan.host("postgres")),
        };
        let etcd = lan.as_mut().map_or_else(Etcd::start, |lan| Etcd::start_at(lan.host("etcd")));
        let gateways = Gateways::start();
        Self {
            nodes: BTreeMap::new(),
            gateways,
            key,
            etcd,
            database,
            postgres,
            clocks: None,
            distance: None,
            lan,
        }
    }

    /// The clock of each node that is added from now on can be set. All of them go on as before until it is.
    pub fn with_clocks(mut self) -> Self {
        self.clocks = Some(tempfile::tempdir().expect("a temporary folder"));
        self
    }

    /// The way to the database can be made longer for the nodes that are added from now on.
    pub fn with_distant_database(mut self) -> Self {
        let lan = self.lan();
        let (server, here) = (lan.address("postgres"), lan.address(MACHINE));
        let distance = Distance::to((server, 5432).into(), here);
        self.database = self.database.replace(&format!("{server}:5432"), &distance.address().to_string());
        self.distance = Some(distance);
        self
    }

    pub fn set_distance(&self, round_trip: Duration) {
        self.distance.as_ref().expect("the database was made distant").set(round_trip);
    }

    /// So many seconds ahead of the machine's, or behind it; what a process measures times by goes on as it did.
    pub fn set_clock(&self, node: &str, seconds: i64) {
        let clocks = self.clocks.as_ref().expect("the cluster was made with clocks");
        let file = clocks.path().join(node);
        let new = file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("a temporary folder can be written");
        std::fs::rename(new, file).expect("a temporary folder can be written");
    }

    /// Where the hosts are.
    pub fn lan(&mut self) -> &mut Lan {
        self.lan.as_mut().expect("the cluster was put on hosts")
    }

    fn place(&mut self, name: &str) -> Place {
        self.lan.as_mut().map_or(Place::here(Ipv4Addr::LOCALHOST), |lan| lan.host(name))
    }

    /// Two guilds nodes and as many voice servers in one region, and a gateway with a demonstration of so many accounts.
    pub fn start(accounts: usize) -> (Self, Server) {
        let mut cluster = Self::new();
        for name in ["g1", "g2"] {
            cluster.add(Role::Guilds, name, &[]);
        }
        for name in ["v1", "v2"] {
            cluster.add(Role::Voice, name, &["--region", "here"]);
        }
        let server = cluster.serve(accounts);
        (cluster, server)
    }

    pub fn add(&mut self, role: Role, name: &str, options: &[&str]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = options.iter().map(ToString::to_string).collect();
        let place = self.place(name);
        self.nodes.insert((role, name.to_owned()), (Node { folder, options, place }, None));
        self.start_again(role, name);
    }

    /// The same of several, which start at once.
    pub fn add_all(&mut self, nodes: &[(Role, &str, &[&str])]) {
        for (role, name, options) in nodes {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let place = self.place(name);
            let process = self.begin(*role, name, &place, folder.path(), options);
            let options = options.iter().map(ToString::to_string).collect();
            self.nodes.insert((*role, (*name).to_owned()), (Node { folder, options, place }, Some(process)));
        }
        for (role, name, _) in nodes {
            let ready = is_ready(self.process(*role, name));
            if *role == Role::Gateway {
                self.gateways.put(name, &ready);
            }
        }
    }

    /// The first gateway, and what clients need to know; they reach whichever gateway there is at one address.
    pub fn serve(&mut self, accounts: usize) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (accounts, place) = (accounts.to_string(), self.place("w0"));
        let options = ["--demo", &accounts];
        let mut process = self.begin(Role::Gateway, "w0", &place, folder.path(), &options);
        let own = is_ready(&mut process);
        self.gateways.put("w0", &own);
        let mut ready = own.clone();
        let at = self.gateways.address.clone();
        ready["http"] = format!("http://{at}").into();
        ready["gateway"] = format!("ws://{at}").into();
        Server::of(process, ready, folder).behind(own)
    }

    /// Starts a node that was stopped or killed, as the same one; with other ports, unless it has a host.
    pub fn start_again(&mut self, role: Role, name: &str) {
        let key = (role, name.to_owned());
        let (node, before) = self.nodes.remove(&key).expect("a node of that name was added");
        drop(before);
        let options: Vec<&str> = node.options.iter().map(String::as_str).collect();
        let mut process = self.begin(role, name, &node.place, node.folder.path(), &options);
        let ready = is_ready(&mut process);
        if role == Role::Gateway {
            self.gateways.put(name, &ready);
        }
        self.nodes.insert(key, (node, Some(process)));
    }

    pub fn process(&mut self, role: Role, name: &str) -> &mut Running {
        let node = self.nodes.get_mut(&(role, name.to_owned()));
        node.and_then(|(_, process)| process.as_mut()).expect("it was added and runs")
    }

    pub fn kill(&mut self, role: Role, name: &str) {
        let (_, process) = self.nodes.get_mut(&(role, name.to_owned())).expect("it was added");
        process.take().expect("it runs").signal("KILL");
        self.gateways.remove(name);
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self, role: Role, name: &str) {
        self.gateways.remove(name);
        let process = self.process(role, name);
        process.signal("TERM");
        let status = process.wait(READY_WITHIN);
        assert!(status.success(), "{name}: {status}\n{}", process.lines.story());
        self.nodes.get_mut(&(role, name.to_owned())).expect("it was added").1 = None;
    }

    /// No new connection goes to this gateway.
    pub fn leave_out(&self, gateway: &str) {
        self.gateways.remove(gateway);
    }

    /// New connections go to this gateway as well again.
    pub fn let_in(&self, gateway: &str, server: &Server) {
        self.gateways.put(gateway, &server.own);
    }

    fn begin(&self, role: Role, name: &str, place: &Place, folder: &Path, options: &[&str]) -> Running {
        let mut command = Command::new(crate::guildhall());
        command.arg(role.command()).arg("--data").arg(folder).args(["--name", name]);
        command.arg("--cluster-key").arg(self.key.path().join("cluster.key"));
        command.args(["--registry", &self.etcd.url()]);
        for (option, port) in
            [("--cluster", 7000), ("--http", 8090), ("--voice", 8443), ("--media", MEDIA_PORT)]
        {
            let port = if place.is_a_host() { port } else { 0 };
            command.args([option, &format!("{}:{port}", place.address)]);
        }
        if role == Role::Guilds {
            command.args(["--database", &self.database]);
        }
        command.args(options);
        if let Some(clocks) = &self.clocks {
            let file = clocks.path().join(name);
            if !file.is_file() {
                self.set_clock(name, 0);
            }
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", file);
            // Looked at each time that somebody asks, so that it is so at once.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
        }
        let name = format!("guildhall {} {name}", role.command());
        Running::start(&name, place.run(command))
    }

    /// The guilds node that owns a guild, by etcd.
    pub fn owner_of(&self, guild: &str) -> Option<String> {
        self.etcd.get(&format!("guildhall/guilds/{guild}"))
    }

    /// Whether etcd knows a guilds node of this name.
    pub fn is_member(&self, node: &str) -> bool {
        self.etcd.get(&format!("guildhall/nodes/{node}")).is_some()
    }

    /// What each of them said, for a failing test's message.
    pub fn story(&self) -> String {
        let stories = self.nodes.values().filter_map(|(_, process)| process.as_ref());
        stories.map(|process| process.lines.story()).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Cluster {
    /// Nobody is left whom a gateway or a guilds node would have to send away. Voice servers end their relays, all at once.
    fn drop(&mut self) {
        for ((role, _), (_, process)) in &self.nodes {
            let signal = if *role == Role::Voice { "TERM" } else { "KILL" };
            process.iter().for_each(|process| process.signal(signal));
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

fn is_ready(process: &mut Running) -> Value {
    process.lines.until("the ready line", READY_WITHIN, |v| v["ready"] == true)
}

/// A database that other hosts reach.
fn database_on(place: &Place) -> (postgres::Server, String) {
    let listens = |data: &Path| {
        let rules = data.join("pg_hba.conf");
        let text = std::fs::read_to_string(&rules).expect("initdb writes it");
        std::fs::write(&rules, text + "host all all 10.0.0.0/8 trust\n")
            .expect("a temporary folder can be written");
        vec![format!("listen_addresses={}", place.address)]
    };
    let postgres = postgres::Server::start_at(|command| place.run(command), listens);
    postgres.create_database("guildhall");
    (postgres, format!("postgres://postgres:secret@{}:5432/guildhall", place.address))
}

/// One address before all gateways, as a load balancer is: a connection goes to the next one that takes it.
struct Gateways {
    address: String,
    there: Arc<Mutex<Vec<(String, String)>>>,
}

impl Gateways {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let there: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let known = Arc::clone(&there);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let known = Arc::clone(&known);
                std::thread::spawn(move || carry(client, &known));
            }
        });
        Self { address, there }
    }

    fn put(&self, name: &str, ready: &Value) {
        let http = ready["http"].as_str().expect("the ready line names the HTTP address");
        let address = http.trim_start_matches("http://").to_owned();
        self.there.lock().expect("no holder of this lock panics").push((name.to_owned(), address));
    }

    fn remove(&self, name: &str) {
        self.there.lock().expect("no holder of this lock panics").retain(|(known, _)| known != name);
    }
}

fn carry(client: TcpStream, known: &Mutex<Vec<(String, String)>>) {
    let addresses: Vec<String> = {
        let mut known = known.lock().expect("no holder of this lock panics");
        if !known.is_empty() {
            known.rotate_left(1);
        }
        known.iter().map(|(_, address)| address.clone()).collect()
    };
    let Some(server) = addresses.iter().find_map(|address| TcpStream::connect(address).ok()) else { return };
    let pipe = |from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from.try_clone().ok()?, to.try_clone().ok()?);
        Some(std::thread::spawn(move || {
            // Either end may go at any time, which ends the other.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        }))
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let pipes = [pipe(&client, &server), pipe(&server, &client)];
    for pipe in pipes.into_iter().flatten() {
        let _ = pipe.join();
    }
}
