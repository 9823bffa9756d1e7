//! The gate: instructions a packet, as callgrind counts them. They do not depend on the machine's mood, though on what its processor offers to the
//! cryptography that chooses by it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// What is counted: the arguments of `forward_cost --count`, by the name of the figure.
const COUNTED: &[(&str, [&str; 2])] = &[
    ("AES-256-GCM to 199", ["aead_aes256_gcm_rtpsize", "200"]),
    ("XChaCha20-Poly1305 to 199", ["aead_xchacha20_poly1305_rtpsize", "200"]),
    ("SRTP to 199 browsers", ["browsers", "200"]),
    ("AES-256-GCM to one", ["aead_aes256_gcm_rtpsize", "2"]),
];

/// What may be more without being a regression.
const TOLERANCE: f64 = 1.02;
const FILE: &str = "benches/instructions.json";
/// Only what happens within this function of the program is counted.
const WITHIN: &str = "*forward_cost*counted*";

/// Whether nothing takes more instructions than it did.
pub fn run(root: &Path, accept: bool) -> anyhow::Result<bool> {
    let file = root.join(FILE);
    let before: BTreeMap<String, f64> = match std::fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| FILE.to_owned())?,
        Err(_) if accept => BTreeMap::new(),
        Err(error) => bail!("{FILE}: {error}; `cargo x bench --gate --accept` makes it"),
    };
    let mut now = BTreeMap::new();
    let mut holds = true;
    println!("\n| instructions a packet sent | accepted | now | |\n|---|---|---|---|");
    for (name, arguments) in COUNTED {
        let count = count(root, arguments)?;
        let accepted = before.get(*name).copied();
        let verdict = verdict(accepted, count);
        holds &= verdict != MORE && (accepted.is_some() || accept);
        let shown = accepted.map_or_else(|| "-".to_owned(), |accepted| format!("{accepted:.0}"));
        println!("| {name} | {shown} | {count:.0} | {verdict} |");
        now.insert((*name).to_owned(), (count * 10.0).round() / 10.0);
    }
    if accept {
        std::fs::write(&file, serde_json::to_string_pretty(&now)? + "\n")?;
        return Ok(true);
    }
    if !holds {
        println!(
            "\nA packet takes more instructions than it did. If that is its price: `cargo x bench --gate --accept`."
        );
    }
    Ok(holds)
}

const MORE: &str = "MORE";

fn verdict(accepted: Option<f64>, now: f64) -> &'static str {
    match accepted {
        None => "new",
        Some(accepted) if now > accepted * TOLERANCE => MORE,
        Some(accepted) if now < accepted / TOLERANCE => "less",
        Some(_) => "the same",
    }
}

fn count(root: &Path, arguments: &[&str; 2]) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let counts = folder.path().join("counts");
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", &format!("--toggle-collect={WITHIN}")])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(root.join("target/debug/examples/forward_cost"))
        .arg("--count")
        .args(arguments)
        .output()
        .context("valgrind does not start")?;
    if !out.status.success() {
        bail!("counting {arguments:?} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    let copies: f64 = String::from_utf8_lossy(&out.stdout).trim().parse().context("the number of packets")?;
    let instructions = total(&std::fs::read_to_string(counts)?).context("callgrind says no total")?;
    if instructions == 0 || copies < 1.0 {
        bail!("nothing was counted within {WITHIN}");
    }
    Ok(instructions as f64 / copies)
}

/// Of a file of callgrind's.
fn total(counts: &str) -> Option<u64> {
    let total =
        counts.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))?;
    total.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_found_where_callgrind_puts_it() {
        assert_eq!(total("events: Ir\nfn=(1) a\n1 5\n\ntotals: 123456\n"), Some(123_456));
        assert_eq!(total("events: Ir\nsummary: 7\n"), Some(7));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn more_is_more_than_two_in_a_hundred() {
        for (accepted, now, expect) in [
            (None, 1_000.0, "new"),
            (Some(1_000.0), 1_019.0, "the same"),
            (Some(1_000.0), 1_021.0, MORE),
            (Some(1_000.0), 979.0, "less"),
        ] {
            assert_eq!(verdict(accepted, now), expect, "{accepted:?} {now}");
        }
    }
}
