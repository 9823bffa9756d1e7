//! What was measured before: a line a run in `benches/history.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cases::commit;
use crate::table::Row;

const FILE: &str = "benches/history.jsonl";

#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Seconds since 1970.
    pub at: u64,
    pub commit: Option<String>,
    pub machine: String,
    pub rows: Vec<Row>,
}

pub fn add(root: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let run = Run { at, commit: commit(root), machine: machine(), rows: rows.to_vec() };
    let mut file = open(root).with_context(|| FILE.to_owned())?;
    Ok(writeln!(file, "{}", serde_json::to_string(&run)?)?)
}

fn open(root: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(root.join("benches"))?;
    OpenOptions::new().create(true).append(true).open(root.join(FILE))
}

pub fn read(root: &Path) -> anyhow::Result<Vec<Run>> {
    let text = std::fs::read_to_string(root.join(FILE)).with_context(|| FILE.to_owned())?;
    let run = |(n, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{FILE}, line {}", n + 1))
    };
    text.lines().enumerate().map(run).collect()
}

/// Figures of different machines are not to be compared.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models: Vec<&str> = cpus
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    let model = models.first().unwrap_or(&"unknown processor");
    format!("{} x {model}, Linux {}", models.len().max(1), read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for value in [1.0, 2.0] {
            add(folder.path(), &[Row::new("raid", "relay / floor", value, "").at_most("P1", 1.15)]).unwrap();
        }
        let runs = read(folder.path()).unwrap();
        assert_eq!(runs.iter().map(|run| run.rows[0].value).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(runs[0].machine.contains("Linux"), "{}", runs[0].machine);
        std::fs::write(folder.path().join(FILE), "{}\n").unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().ends_with("line 1"));
    }
}
