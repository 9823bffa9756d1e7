//! Rules of the house that a compiler does not check: licences, which crate may use which, how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Licences that let anybody run, change and pass on a program under MIT or Apache-2.0.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "CC0-1.0",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT-0",
    "OpenSSL",
];

/// Imports point down this list: a crate may use only crates that stand before it, and of those only the ones named here.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("client-wire", &["model"]),
    ("cluster-wire", &["client-wire", "model"]),
    ("sfu-wire", &[]),
    ("rtp-wire", &[]),
    ("transport", &["rtp-wire"]),
    ("udp-io", &[]),
    ("registry", &["cluster-wire", "model"]),
    ("cluster-core", &["client-wire", "cluster-wire", "model"]),
    ("cluster", &["client-wire", "cluster-core", "cluster-wire", "model", "registry"]),
    ("store", &["model"]),
    ("gateway-core", &["client-wire", "cluster-wire", "model"]),
    ("gateway", &["client-wire", "cluster-wire", "gateway-core", "model"]),
    ("guilds-core", &["client-wire", "cluster-wire", "model"]),
    ("guilds", &["client-wire", "cluster-wire", "guilds-core", "model", "registry", "store"]),
    ("voice-core", &["client-wire", "cluster-wire", "model", "sfu-wire"]),
    (
        "voice",
        &[
            "client-wire",
            "cluster-wire",
            "model",
            "registry",
            "rtp-wire",
            "sfu-wire",
            "transport",
            "udp-io",
            "voice-core",
        ],
    ),
    ("sfu-core", &["rtp-wire", "sfu-wire", "transport"]),
    ("sfu", &["rtp-wire", "sfu-core", "sfu-wire", "transport", "udp-io"]),
    ("engine-core", &["model", "rtp-wire", "transport"]),
    ("engine", &["client-wire", "engine-core", "model", "rtp-wire", "transport"]),
    ("operator", &[]),
    (
        "load",
        &["client-wire", "engine", "engine-core", "model", "operator", "rtp-wire", "transport", "udp-io"],
    ),
    (
        "guildhall",
        &[
            "client-wire",
            "cluster",
            "cluster-wire",
            "engine",
            "gateway",
            "guilds",
            "load",
            "model",
            "operator",
            "registry",
            "sfu",
            "store",
            "transport",
            "udp-io",
            "voice",
        ],
    ),
    (
        "sim",
        &[
            "client-wire",
            "cluster-core",
            "cluster-wire",
            "gateway-core",
            "guilds-core",
            "model",
            "rtp-wire",
            "sfu-core",
            "sfu-wire",
            "transport",
            "voice-core",
        ],
    ),
    ("e2e", &["client-wire", "engine", "engine-core", "model", "rtp-wire", "sfu-wire", "transport"]),
    ("bench", &["udp-io"]),
    ("xtask", &[]),
];

/// Crates that decide and therefore must not be able to touch the world.
const NO_WORLD: &[&str] = &["tokio", "axum", "sqlx", "libc", "rustix", "socket2", "tracing", "metrics"];

/// What the relay process must never link.
const NOT_IN_SFU: &[&str] = &["tokio", "rustls", "serde_json", "axum", "sqlx", "etcd-client"];

/// A reader takes in a file at one sitting.
const FILE_LINES_MAX: usize = 900;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn metadata() -> Value {
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs, since it runs this test");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

/// Names of the crates a package uses outside of its tests.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().expect("a list of dependencies");
    all.iter().filter(|d| d["kind"].is_null()).map(|d| text(d, "name").to_owned()).collect()
}

/// Is there a choice within this SPDX expression that consists of allowed licences only?
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(" WITH LLVM-exception", "_LLVM");
    // The outermost OR outside of parentheses splits first, then AND, then parentheses go.
    for (operator, any) in [(" OR ", true), (" AND ", false)] {
        let parts = split_outside_parentheses(&expression, operator);
        if parts.len() > 1 {
            return if any { parts.iter().any(|p| allowed(p)) } else { parts.iter().all(|p| allowed(p)) };
        }
    }
    let licence = expression.trim();
    match licence.strip_prefix('(').and_then(|l| l.strip_suffix(')')) {
        Some(inner) => allowed(inner),
        None => LICENCES.contains(&licence.replace("_LLVM", " WITH LLVM-exception").as_str()),
    }
}

fn split_outside_parentheses(text: &str, operator: &str) -> Vec<String> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && text[i..].starts_with(operator) && i >= start => {
                parts.push(text[start..i].to_owned());
                start = i + operator.len();
            }
            _ => {}
        }
    }
    parts.push(text[start..].to_owned());
    parts
}

#[test]
fn licence_expressions_are_understood() {
    let check = |expression, expect| assert_eq!(allowed(expression), expect, "{expression}");
    check("MIT OR Apache-2.0", true);
    check("MIT/Apache-2.0", true);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0 AND MIT", false);
    check("(MIT OR GPL-3.0) AND Unicode-3.0", true);
    check("ISC AND (Apache-2.0 OR ISC)", true);
    check("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true);
    check("AGPL-3.0", false);
    check("", false);
}

#[test]
fn every_dependency_may_be_used_and_passed_on() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let refused: Vec<String> = packages
        .iter()
        .filter(|p| !is_ours(p) && !allowed(text(p, "license")))
        .map(|p| format!("{} {}: {:?}", text(p, "name"), text(p, "version"), text(p, "license")))
        .collect();
    assert!(refused.is_empty(), "licences outside the list:\n{}", refused.join("\n"));
}

#[test]
fn our_crates_use_each_other_only_as_agreed() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let ours: BTreeMap<&str, &Value> =
        packages.iter().filter(|p| is_ours(p)).map(|p| (text(p, "name"), p)).collect();
    let mut wrong = Vec::new();
    for (name, package) in &ours {
        let Some(at) = EDGES.iter().position(|(n, _)| n == name) else {
            wrong.push(format!("{name} is not in the list"));
            continue;
        };
        for used in dependencies(package).iter().filter(|d| ours.contains_key(d.as_str())) {
            let below = EDGES[..at].iter().any(|(n, _)| n == used);
            if !below || !EDGES[at].1.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {used}"));
            }
        }
        if name.ends_with("-core") || name.ends_with("-wire") && *name != "cluster-wire" {
            for used in dependencies(package).iter().filter(|d| NO_WORLD.contains(&d.as_str())) {
                wrong.push(format!("{name} decides without touching the world, yet uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges outside the list:\n{}", wrong.join("\n"));
}

#[test]
fn the_relay_links_no_runtime_no_tls_and_no_json() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().expect("a resolved graph");
    let by_id: BTreeMap<&str, &Value> = nodes.iter().map(|n| (text(n, "id"), n)).collect();
    let name = |id: &str| {
        let packages = metadata["packages"].as_array().expect("a list of packages");
        packages
            .iter()
            .find(|p| text(p, "id") == id)
            .map(|p| text(p, "name").to_owned())
            .expect("every node has a package")
    };
    let start =
        nodes.iter().map(|n| text(n, "id")).find(|id| name(id) == "sfu").expect("the relay is a crate");
    let (mut reached, mut todo) = (BTreeSet::new(), vec![start]);
    while let Some(id) = todo.pop() {
        if !reached.insert(id) {
            continue;
        }
        for dep in by_id[id]["deps"].as_array().expect("a list of edges") {
            let kinds = dep["dep_kinds"].as_array().expect("a list of kinds");
            if kinds.iter().any(|k| k["kind"].is_null()) {
                todo.push(text(dep, "pkg"));
            }
        }
    }
    let found: Vec<String> =
        reached.iter().map(|id| name(id)).filter(|n| NOT_IN_SFU.contains(&n.as_str())).collect();
    assert!(found.is_empty(), "the relay links {found:?}");
}

#[test]
fn files_can_be_read_at_one_sitting() {
    let mut long = Vec::new();
    let mut folders = vec![root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let lines = std::fs::read_to_string(&path).expect("source is text").lines().count();
                if lines > FILE_LINES_MAX {
                    long.push(format!("{}: {lines} lines", path.display()));
                }
            }
        }
    }
    assert!(long.is_empty(), "files over {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

/// The program itself is not built once more for tests.
#[test]
fn tests_within_the_program_are_run() {
    let folder = root().join("crates/guildhall");
    let read = |path: &Path| std::fs::read_to_string(path).expect("source is text");
    let run = read(&folder.join("tests/command_line.rs"));
    let mut with_tests = 0;
    for entry in std::fs::read_dir(folder.join("src")).expect("a folder of the repository").flatten() {
        if read(&entry.path()).contains("#[cfg(test)]") {
            let name = entry.file_name();
            let name = name.to_str().expect("names are text");
            assert!(
                run.contains(&format!("#[path = \"../src/{name}\"]")),
                "tests/command_line.rs has no {name}, so that its tests do not run"
            );
            with_tests += 1;
        }
    }
    assert!(with_tests > 0, "nothing is left to look for");
}
