//! Puts the built web client, if there is one, into the binary: a table of the files of `web/dist`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let web = here.join("../../web");
    let dist = web.join("dist");
    println!("cargo::rerun-if-changed=build.rs");
    // A path that does not exist would make every build compile this crate anew, so the nearest that does is watched.
    if let Some(watched) = [&dist, &web].into_iter().find(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let mut files = BTreeMap::new();
    if dist.join("index.html").exists() {
        collect(&dist, "", &mut files).expect("the built web client can be read");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    fs::write(out.join("web.rs"), table(&files)).expect("cargo's own folder can be written");
}

/// The files below `folder`, by their paths in a URL.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') {
            continue;
        }
        let url = format!("{prefix}/{name}");
        if path.is_dir() {
            collect(&path, &url, files)?;
        } else {
            files.insert(url, path.canonicalize()?);
        }
    }
    Ok(())
}

fn table(files: &BTreeMap<String, PathBuf>) -> String {
    let mut text = String::from("&[\n");
    for (url, path) in files {
        // `x.gz` and `x.br` are other forms of `x`, not files of their own.
        let is_form = [".gz", ".br"]
            .iter()
            .any(|end| url.strip_suffix(end).is_some_and(|plain| files.contains_key(plain)));
        if is_form {
            continue;
        }
        let form = |end: &str| match files.get(&format!("{url}{end}")) {
            Some(path) => format!("Some(include_bytes!({path:?}))"),
            None => "None".to_owned(),
        };
        let mut hasher = DefaultHasher::new();
        hasher.write(&fs::read(path).expect("a file that was just listed can be read"));
        writeln!(
            text,
            "    File {{ path: {url:?}, plain: include_bytes!({path:?}), gzip: {}, brotli: {}, hash: \"{:016x}\" }},",
            form(".gz"),
            form(".br"),
            hasher.finish(),
        )
        .expect("a string takes everything");
    }
    text + "]\n"
}
