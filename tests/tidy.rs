//! The house rules that neither rustfmt nor clippy keeps: each rule is one test that names every place it is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use harness::workspace;

/// Who may depend on what: `(dependency, the packages that may)`. Cargo then forbids naming it anywhere else.
const WALLS: [(&str, &[&str]); 14] = [
    ("proto", &["catalog", "executor", "server"]),
    ("catalog", &["executor", "server", "tests"]),
    ("executor", &["server"]),
    ("server", &["tests"]),
    ("tests", &[]),
    ("iceberg", &["catalog"]),
    ("iceberg-catalog-rest", &["catalog"]),
    ("delta_kernel", &["catalog"]),
    ("delta_kernel_default_engine", &["catalog"]),
    ("sqlx", &["catalog"]),
    ("datafusion-distributed", &["executor"]),
    ("clap", &["server"]),
    ("figment", &["server"]),
    ("tpchgen", &["server"]),
];
/// The libraries that must exist once, or once per major version that is named here.
const SINGLE: [(&str, &[&str]); 6] = [
    ("arrow", &["59"]),
    // iceberg brings arrow and parquet 58 for itself.
    ("arrow-array", &["58", "59"]),
    ("parquet", &["58", "59"]),
    ("datafusion", &["55"]),
    ("object_store", &["0.13"]),
    ("tonic", &["0.14"]),
];
/// Longest allowed text files.
const PAGES: [(&str, usize); 3] = [("README.md", 200), ("docs/ARCHITECTURE.md", 300), ("justfile", 25)];

/// Every file of the checkout that people write, as a path below its root.
fn files() -> Result<Vec<PathBuf>> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let foreign = ["target", "generated", "lakewing-data", "__pycache__"].contains(&&*name);
            if foreign || name.starts_with('.') && name != ".ci" {
                continue;
            }
            if path.is_dir() {
                walk(&path, files)?
            } else {
                files.push(path)
            }
        }
        Ok(())
    }
    let root = workspace();
    let mut files = Vec::new();
    walk(&root, &mut files)?;
    Ok(files
        .into_iter()
        .filter_map(|file| Some(file.strip_prefix(&root).ok()?.to_owned()))
        .collect())
}

fn rust_files() -> Result<Vec<(PathBuf, String)>> {
    texts(|file| file.extension().is_some_and(|extension| extension == "rs"))
}

fn texts(wanted: impl Fn(&Path) -> bool) -> Result<Vec<(PathBuf, String)>> {
    let wanted = files()?.into_iter().filter(|file| wanted(file));
    wanted
        .map(|file| Ok((file.clone(), std::fs::read_to_string(workspace().join(&file))?)))
        .collect()
}

#[track_caller]
fn none(broken: impl IntoIterator<Item = String>) {
    let broken = broken.into_iter().collect::<Vec<_>>();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn a_file_says_first_what_it_answers() -> Result<()> {
    let silent = rust_files()?.into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none(silent.map(|(file, _)| format!("{} does not open with //!", file.display())));
    Ok(())
}

#[test]
fn a_file_fits_into_the_head() -> Result<()> {
    let lines = |text: &str| text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let code = rust_files()?
        .into_iter()
        .filter(|(file, _)| !file.ends_with("tests.rs"));
    let long = code.filter_map(|(file, text)| {
        (lines(&text) > 500).then(|| {
            format!(
                "{} has {} lines without tests, at most 500",
                file.display(),
                lines(&text)
            )
        })
    });
    none(long);
    Ok(())
}

#[test]
fn pages_stay_pages() -> Result<()> {
    for (page, limit) in PAGES {
        let lines = std::fs::read_to_string(workspace().join(page))?.lines().count();
        assert!(lines <= limit, "{page} has {lines} lines, at most {limit}");
    }
    Ok(())
}

#[test]
fn folders_are_flat_and_small() -> Result<()> {
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut broken = Vec::new();
    for (file, _) in rust_files()? {
        if file.ends_with("mod.rs") {
            broken.push(format!("{}: a module is foo.rs beside foo/", file.display()));
        }
        if file.components().skip_while(|part| part.as_os_str() != "src").count() > 4 {
            broken.push(format!("{} lies more than two folders below src", file.display()));
        }
        if !file.ends_with("lib.rs") && !file.ends_with("main.rs") {
            *folders.entry(file.parent().unwrap_or(&file).to_owned()).or_default() += 1;
        }
    }
    let crowded = folders.into_iter().filter(|(_, count)| *count > 15);
    broken.extend(crowded.map(|(folder, count)| format!("{} holds {count} files, at most 15", folder.display())));
    none(broken);
    Ok(())
}

#[test]
fn nothing_is_left_for_later() -> Result<()> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
    ];
    let mut broken = Vec::new();
    for (file, text) in rust_files()? {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                broken.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    none(broken);
    Ok(())
}

#[test]
fn nothing_names_one_machine_or_one_registry() -> Result<()> {
    let words = [
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/wo", "rk/"),
        concat!("crates", ".io"),
        concat!("pypi", ".org"),
        concat!("maven", ".org"),
        concat!("proxy.golang", ".org"),
    ];
    let mut broken = Vec::new();
    for (file, text) in texts(|file| file != Path::new("Cargo.lock") && !file.starts_with("server/ui"))? {
        broken.extend(
            words
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{}: {word}", file.display())),
        );
    }
    none(broken);
    Ok(())
}

#[test]
fn walls_stand() -> Result<()> {
    let mut broken = Vec::new();
    for package in ["proto", "catalog", "executor", "server", "tests"] {
        let manifest = std::fs::read_to_string(workspace().join(package).join("Cargo.toml"))?;
        let names = manifest
            .lines()
            .filter_map(|line| line.split_once(".workspace = true"))
            .map(|(name, _)| name);
        let names: BTreeSet<&str> = names.collect();
        for (dependency, owners) in WALLS {
            if names.contains(dependency) && !owners.contains(&package) {
                broken.push(format!(
                    "{package} depends on {dependency}, which only {owners:?} may know"
                ));
            }
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            broken.push(format!("{package} does not take the lints of the workspace"));
        }
    }
    let engine = Path::new("executor/src/engine");
    let strangers = rust_files()?
        .into_iter()
        .filter(|(file, text)| text.contains(concat!("datafusion", "_distributed")) && !file.starts_with(engine));
    broken.extend(strangers.map(|(file, _)| format!("{} names the engine library", file.display())));
    none(broken);
    Ok(())
}

#[test]
fn fast_moving_libraries_exist_once() -> Result<()> {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock"))?;
    let mut broken = Vec::new();
    for (library, majors) in SINGLE {
        let head = format!("name = \"{library}\"\nversion = \"");
        let found = lock
            .split(&head)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect::<Vec<_>>();
        let known = |version: &&str| majors.iter().any(|major| version.starts_with(&format!("{major}.")));
        if found.len() != majors.len() || !found.iter().all(known) {
            broken.push(format!(
                "{library}: the lock file has {found:?}, allowed is one of each of {majors:?}"
            ));
        }
    }
    none(broken);
    Ok(())
}

/// With the variable LAKEWING_REGENERATE set, writes the code instead of comparing it.
#[test]
fn generated_code_is_fresh() -> Result<()> {
    let proto = workspace().join("proto");
    let sources = files()?
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "proto"));
    let mut sources = sources.map(|file| workspace().join(file)).collect::<Vec<_>>();
    sources.sort();
    let fresh = tempfile::tempdir()?;
    let descriptors = protox::compile(sources, [&proto])?;
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        // What is secret is not shown by mistake.
        .skip_debug(["lakewing.v1.StorageLoan", "lakewing.v1.LendRequest"])
        .compile_fds(descriptors)?;
    for entry in std::fs::read_dir(fresh.path())? {
        let entry = entry?;
        let committed = proto.join("src/generated").join(entry.file_name());
        if regenerate() {
            std::fs::copy(entry.path(), committed)?;
        } else {
            let equal = std::fs::read(entry.path())? == std::fs::read(&committed).unwrap_or_default();
            assert!(
                equal,
                "{} is stale: run LAKEWING_REGENERATE=1 tests/run tidy",
                committed.display()
            );
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a switch of this test")]
fn regenerate() -> bool {
    std::env::var("LAKEWING_REGENERATE").is_ok()
}
