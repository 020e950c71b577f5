//! Which source wins, what is refused and in which words, and that the documentation names every key.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use figment::error::Kind;

use super::*;

const SOURCE: &str = "lake.toml";

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn load(text: &str, list: &[(&str, &str)], flags: Flags) -> Result<Config> {
    let config = Config::merge(text, SOURCE, variables(list), flags)?;
    config.validate()?;
    Ok(config)
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\ndata_dir = \"file\"\nshutdown_grace = \"1s\"";
    let environment = [
        ("LAKEWING__LISTEN", "127.0.0.1:2"),
        ("LAKEWING__DATA_DIR", "variable"),
        ("LISTEN", "x"),
    ];
    let flags = Flags {
        listen: Some("127.0.0.1:3".parse().unwrap()),
        data_dir: None,
    };
    let config = load(file, &environment, flags).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data_dir, Path::new("variable"));
    assert_eq!(config.shutdown_grace, Duration::from_secs(1));
    assert_eq!(config.default_namespace, "default");
}

#[test]
fn variables_reach_every_depth() {
    let environment = [
        ("LAKEWING__AUTH__MODE", "basic"),
        ("LAKEWING__AUTH__USERS__ALICE", "secret"),
        ("LAKEWING__EXECUTOR__MODE", "{type=\"in-process\",count=3}"),
        ("LAKEWING__STORAGE", "[{prefix=\"s3://bucket\"}]"),
    ];
    let config = load("[auth.users]\nbob = \"b\"", &environment, Flags::default()).unwrap();
    assert_eq!(config.auth.users.keys().collect::<Vec<_>>(), ["alice", "bob"]);
    assert_eq!(config.executor.mode, executor::Mode::InProcess { count: 3 });
    assert_eq!(config.storage[0].prefix, "s3://bucket");
}

#[test]
fn a_wrong_value_is_one_line_with_its_key_and_place() {
    let check = |text: &str, environment: &[(&str, &str)], expect: &str| {
        let error = load(text, environment, Flags::default()).unwrap_err().to_string();
        assert_eq!(error, expect, "{text}");
    };
    check(
        "listen = 5",
        &[],
        "listen: must be socket address, not a number (lake.toml)",
    );
    check(
        "",
        &[("LAKEWING__LISTEN", "here")],
        "listen: invalid socket address syntax (environment variable LAKEWING__LISTEN)",
    );
    check(
        "[auth]\nmode = \"open\"",
        &[],
        "auth.mode: must be one of anonymous, basic, required (lake.toml)",
    );
    check("[tls]\ncertificate = \"c.pem\"", &[], "tls.key: is missing (lake.toml)");
    check(
        "[catalogs.a]\ntype = \"delta\"",
        &[],
        "catalogs.a.root: is missing (lake.toml)",
    );
    check(
        "[catalogs.a]\ntype = \"delta\"\nroot = \"s3://b\"\nurl = 1",
        &[],
        "catalogs.a.url: is no known key; known here: root (lake.toml)",
    );
    check(
        "[auth.users]\nalice = 12345",
        &[],
        "auth.users.alice: must be a string, not a number (lake.toml)",
    );
    check(
        "default_catalog = \"x\"",
        &[],
        "default_catalog: there is no catalog \"x\"; the catalogs are delta, lake",
    );
    check(
        "[executor]\nmode = { type = \"in-process\", count = 0 }",
        &[],
        "executor.mode.count: must be between 1 and 256",
    );
}

#[test]
fn a_syntax_error_does_not_quote_the_file() {
    let error = load("[auth.users]\nalice = s3cret", &[], Flags::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 2") && error.ends_with("(lake.toml)"), "{error}");
    assert!(!error.contains("s3cret") && !error.contains('\n'), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let file = "[auth]\nmode = \"basic\"\nsecret = \"s3cret-signing-key\"\n[auth.users]\nalice = \"s3cret\"\n\
                [catalogs.a]\ntype = \"iceberg-rest\"\nuri = \"http://c\"\ncredential = \"id:s3cret\"";
    let shown = format!("{:?}", load(file, &[], Flags::default()).unwrap());
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn an_open_server_is_refused_unless_asked_for() {
    let open = "listen = \"0.0.0.0:31415\"\n";
    let error = load(open, &[], Flags::default()).unwrap_err().to_string();
    assert!(
        error.starts_with("auth.mode: everyone who reaches 0.0.0.0:31415"),
        "{error}"
    );
    for allowed in [
        "[auth]\nallow_anonymous_remote = true",
        "[auth]\nmode = \"basic\"\nusers = { a = \"b\" }",
    ] {
        load(&format!("{open}{allowed}"), &[], Flags::default()).unwrap();
    }
}

#[test]
fn the_embedded_lake_lies_in_its_folder() {
    let lake = Config::embedded("/data/my lake").lake().unwrap();
    lake.validate().unwrap();
    assert_eq!(lake.catalogs.keys().collect::<Vec<_>>(), ["delta", "lake"]);
    let CatalogConfig::IcebergSql { uri, warehouse, .. } = &lake.catalogs["lake"] else {
        panic!()
    };
    assert_eq!(uri.expose(), "sqlite:///data/my%20lake/catalog.db");
    assert_eq!(warehouse.as_str(), "file:///data/my%20lake/lake/");
    let CatalogConfig::Delta { root } = &lake.catalogs["delta"] else {
        panic!()
    };
    assert_eq!(root.as_str(), "file:///data/my%20lake/delta/");
}

#[test]
fn configured_catalogs_replace_the_embedded_ones() {
    let config = load(
        "[catalogs.a]\ntype = \"delta\"\nroot = \"s3://b\"",
        &[],
        Flags::default(),
    )
    .unwrap();
    assert_eq!(config.lake().unwrap().catalogs.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn the_examples_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            load(&text, &[], Flags::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            checked += 1;
        }
    }
    assert!(checked > 0);
}

/// The keys of every section, as the types themselves report them when they are given an unknown one.
#[test]
fn every_key_is_documented() {
    let sections = [
        ("", "zzz = 1"),
        ("auth", "[auth]\nzzz = 1"),
        ("auth.jwt", "[auth.jwt]\nzzz = 1"),
        ("access", "[access]\nzzz = 1"),
        ("tls", "[tls]\nzzz = 1"),
        ("catalogs.NAME", "[catalogs.a]\ntype = \"iceberg-rest\"\nzzz = 1"),
        ("catalogs.NAME", "[catalogs.a]\ntype = \"iceberg-sql\"\nzzz = 1"),
        ("catalogs.NAME", "[catalogs.a]\ntype = \"delta\"\nzzz = 1"),
        ("storage", "[[storage]]\nzzz = 1"),
        ("spool", "[spool]\nzzz = 1"),
        ("metrics", "[metrics]\nzzz = 1"),
        ("queries", "[queries]\nzzz = 1"),
        ("queries.groups", "[[queries.groups]]\nzzz = 1"),
        ("executor", "[executor]\nzzz = 1"),
        ("executor.mode", "[executor.mode]\ntype = \"in-process\"\nzzz = 1"),
        ("executor.mode", "[executor.mode]\ntype = \"static\"\nzzz = 1"),
        ("executor.mode", "[executor.mode]\ntype = \"dns\"\nzzz = 1"),
        ("executor.mode", "[executor.mode]\ntype = \"process\"\nzzz = 1"),
        ("executor.mode", "[executor.mode]\ntype = \"kubernetes\"\nzzz = 1"),
        ("executor.sets", "[[executor.sets]]\nzzz = 1"),
        ("executor.sets.pod", "[[executor.sets]]\n[executor.sets.pod]\nzzz = 1"),
        ("executor.tls", "[executor.tls]\nzzz = 1"),
        ("executor.results", "[executor.results]\nzzz = 1"),
    ];
    let document = include_str!("../../../docs/configuration.md");
    let is_section = |path: &str| {
        sections
            .iter()
            .any(|(section, _)| format!("{section}.").starts_with(&format!("{path}.")))
    };
    let mut missing = BTreeSet::new();
    for (section, text) in sections {
        let error = Figment::from(Toml::string(text)).extract::<Config>().unwrap_err();
        let Kind::UnknownField(_, known) = error.kind else {
            panic!("{section}: {error}")
        };
        for key in known {
            let path = if section.is_empty() {
                key.to_string()
            } else {
                format!("{section}.{key}")
            };
            if !is_section(&path) && !document.contains(&format!("`{path}`")) {
                missing.insert(path);
            }
        }
    }
    assert!(missing.is_empty(), "docs/configuration.md lacks {missing:?}");
}
