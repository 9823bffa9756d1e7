//! A private PostgreSQL server for the tests: made from nothing, reached by a Unix socket unless a test asks for more, gone afterwards.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const INSTALL: &str = "the tests need PostgreSQL's server: apt-get install -y postgresql";
const READY: &str = "database system is ready to accept connections";

pub struct Server {
    process: Child,
    bin: PathBuf,
    dir: TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(|_| vec!["listen_addresses=".to_owned()])
    }

    /// `prepare` is given the folder of the data before the server begins, and says with which settings.
    pub fn start_with(prepare: impl FnOnce(&Path) -> Vec<String>) -> Self {
        Self::start_at(|command| command, prepare)
    }

    /// The same, elsewhere: `there` is given the command that is to run there.
    pub fn start_at(
        there: impl FnOnce(Command) -> Command,
        prepare: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let bin = find_binaries();
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(dir.path()));
        }
        let data = dir.path().join("data");
        let locale = ["--encoding=UTF8", "--locale=C", "--username=postgres", "--auth=trust", "--no-sync"];
        run(as_server_user(bin.join("initdb")).args(locale).arg("-D").arg(&data));

        let asked = prepare(&data);
        let mut command = as_server_user(bin.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(dir.path());
        for setting in asked.iter().map(String::as_str).chain([
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "autovacuum=off",
            "shared_buffers=32MB",
        ]) {
            command.arg("-c").arg(setting);
        }
        let mut command = there(command);
        let mut process =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("setpriv is there");
        let log = BufReader::new(process.stderr.take().expect("stderr is piped"));
        let server = Self { process, bin, dir };
        wait_until_ready(log);
        server
    }

    /// Makes an empty database and returns its URL.
    pub fn create_database(&self, name: &str) -> String {
        let mut command = Command::new(self.bin.join("createdb"));
        run(command.args(["--username=postgres", "--host"]).arg(self.dir.path()).arg(name));
        self.url(name)
    }

    /// Nothing of it does anything any more, while its connections stay, until it goes on.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// The server first, so that it begins nothing new when it is stopped.
    fn signal(&self, signal: &str) {
        let server = self.process.id();
        run(Command::new("kill").arg(format!("-{signal}")).arg(server.to_string()));
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for id in ids.filter(|id| parent_of(*id) == Some(server)) {
            // One that has ended meanwhile does nothing either.
            let _ = Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status();
        }
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres:secret@localhost/{database}?host={}", self.dir.path().display())
    }
}

/// The name in parentheses may hold anything; state and parent come after it.
pub fn parent_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed may have left it stopped, and then it would not hear.
        self.go_on();
        // SIGQUIT is PostgreSQL's immediate shutdown; unlike SIGKILL it lets the server end its own children.
        let asked = Command::new("kill").arg("-QUIT").arg(self.process.id().to_string()).status();
        if asked.is_ok_and(|status| status.success()) {
            let _ = self.process.wait();
        }
    }
}

/// Reads the log to the line that says so; then goes on reading, so that the server never waits for its log.
fn wait_until_ready(log: BufReader<std::process::ChildStderr>) {
    let mut lines = log.lines();
    let mut seen = String::new();
    loop {
        let Some(Ok(line)) = lines.next() else { panic!("PostgreSQL did not start:\n{seen}") };
        if line.contains(READY) {
            break;
        }
        seen += &line;
        seen.push('\n');
    }
    std::thread::spawn(move || lines.for_each(drop));
}

/// The newest of Debian's versions, or what PATH has.
fn find_binaries() -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version =
        |path: &PathBuf| path.file_name().and_then(OsStr::to_str).and_then(|v| v.parse::<u32>().ok());
    let newest = debian.map(|entry| entry.path()).max_by_key(version).map(|path| path.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let complete = |dir: &PathBuf| dir.join("initdb").exists() && dir.join("postgres").exists();
    newest.into_iter().chain(std::env::split_paths(&path)).find(complete).expect(INSTALL)
}

/// PostgreSQL refuses to run as root. The signal ends the server when a test is killed before it can clean up.
fn as_server_user(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg("--pdeathsig=QUIT").arg("--").arg(program.as_ref()).current_dir("/");
    command
}

/// A file that only the server's user reads, as it demands of its key.
pub fn write_for_server(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(path));
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("Linux has /proc").uid() == 0
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
