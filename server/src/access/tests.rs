//! Who may do what, over a real catalog.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use catalog::write::TableFormat;
use catalog::{CatalogConfig, Lakehouse, Secret, Stores, TableName};
use proto::ErrorKind;
use tempfile::TempDir;
use url::Url;

use super::grants::{Grants, owner_key};
use super::*;

/// A catalog `lake` with a schema `s`, and the rules with `root` as administrator.
struct House {
    lakehouse: Arc<Lakehouse>,
    access: Arc<Access>,
    _folder: TempDir,
}

async fn house(catalogs: &[(Privilege, &str)]) -> House {
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Url::from_directory_path(folder.path()).unwrap();
    let database = folder.path().join("catalog.db");
    let lake = CatalogConfig::IcebergSql {
        uri: Secret::new(format!("sqlite://{}", database.display())),
        name: None,
        warehouse,
        default_format: TableFormat::Iceberg,
    };
    let config = catalog::Config {
        catalogs: BTreeMap::from([("lake".to_owned(), lake)]),
        storage: Vec::new(),
    };
    let stores = Stores::new(&config.storage).unwrap();
    let lakehouse = Arc::new(Lakehouse::new(&config, stores).unwrap());
    lakehouse
        .client("lake")
        .unwrap()
        .create_namespace("s", &[])
        .await
        .unwrap();
    let granted = catalogs
        .iter()
        .map(|(privilege, user)| (*privilege, vec![(*user).to_owned()]));
    let config = Config {
        enabled: true,
        admins: vec!["root".to_owned()],
        catalogs: BTreeMap::from([("lake".to_owned(), granted.collect())]),
    };
    let access = Access::new(config, Directory::unknown(), Arc::clone(&lakehouse));
    House {
        lakehouse,
        access: Arc::new(access),
        _folder: folder,
    }
}

fn grant(object: Object, grantee: &str, privilege: Privilege) -> Grant {
    Grant {
        object,
        grantee: grantee.to_owned(),
        privilege,
    }
}

fn table(name: &str) -> TableName {
    TableName::new("lake", "s", name)
}

#[test]
fn grants_are_told_by_properties_and_by_nothing_else() {
    let odd = "a.b%()/ü \"x\"";
    let objects = [
        Object::Schema,
        Object::Relation(odd.to_owned()),
        Object::Relation("f()".to_owned()),
        Object::Function("f".to_owned()),
    ];
    let mut properties = HashMap::from([
        ("lakewing.grant.t.bob".to_owned(), "x".to_owned()),
        ("lakewing.grant.t.bob.select.more".to_owned(), "x".to_owned()),
        ("lakewing.grant.t.bob.own".to_owned(), "x".to_owned()),
        ("lakewing.grant.t..select".to_owned(), "x".to_owned()),
        ("lakewing.grant.%zz.bob.select".to_owned(), "x".to_owned()),
        ("lakewing.function.f".to_owned(), "{}".to_owned()),
    ]);
    assert!(!Grants::read(&properties).shows_schema("bob"));
    for object in &objects {
        let user = format!("{odd}@x");
        properties.insert(owner_key(object), "alice".to_owned());
        properties.insert(
            grant(object.clone(), &user, Privilege::Update).key(),
            "alice".to_owned(),
        );
    }
    let grants = Grants::read(&properties);
    for object in &objects {
        assert_eq!(grants.owner(object), Some("alice"), "{object:?}");
        let found: Vec<_> = grants.on(object).map(|(grant, _)| grant.clone()).collect();
        assert_eq!(
            found,
            [grant(object.clone(), &format!("{odd}@x"), Privilege::Update)],
            "{object:?}"
        );
    }
}

#[test]
fn rights_on_a_schema_hold_for_what_is_in_it() {
    let t = || Object::Relation("t".to_owned());
    let key = |grant: Grant| (grant.key(), "root".to_owned());
    let grants = Grants::read(&HashMap::from([
        (owner_key(&Object::Schema), "carol".to_owned()),
        (owner_key(&t()), "alice".to_owned()),
        key(grant(t(), "bob", Privilege::Select)),
        key(grant(Object::Schema, "dave", Privilege::Insert)),
        key(grant(Object::Schema, "erin", Privilege::Create)),
    ]));
    let check = |user: &str, object: Object, privilege: Privilege, expect: bool| {
        assert_eq!(
            grants.allows(user, &object, privilege),
            expect,
            "{user} {object:?} {privilege}"
        );
    };
    let other = || Object::Relation("u".to_owned());
    check("alice", t(), Privilege::Own, true);
    check("alice", t(), Privilege::Select, true);
    check("alice", other(), Privilege::Select, false);
    check("carol", t(), Privilege::Own, true);
    check("carol", other(), Privilege::Delete, true);
    check("bob", t(), Privilege::Select, true);
    check("bob", t(), Privilege::Insert, false);
    check("bob", Object::Function("t".to_owned()), Privilege::Select, false);
    check("dave", other(), Privilege::Insert, true);
    check("dave", other(), Privilege::Own, false);
    check("erin", other(), Privilege::Select, false);
    let shown = |user: &str| {
        (
            grants.shows(user, &t()),
            grants.shows(user, &other()),
            grants.shows_schema(user),
        )
    };
    assert_eq!(shown("alice"), (true, false, true));
    assert_eq!(shown("bob"), (true, false, true));
    assert_eq!(shown("dave"), (true, true, true));
    assert_eq!(shown("erin"), (false, false, true));
    assert_eq!(shown("frank"), (false, false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_may_not_know_of_is_told_as_what_there_is_not() {
    let house = house(&[(Privilege::Select, "reader")]).await;
    let guard = house.access.guard();
    let select = [Privilege::Select];
    let secret = guard
        .require("bob", "table", &table("secret"), &select)
        .await
        .unwrap_err();
    assert_eq!(secret.kind(), ErrorKind::NotFound);
    assert_eq!(secret.sqlstate(), "42P01");
    // Rights on a whole catalog say nothing about a table that there is not.
    let none = guard
        .require("reader", "table", &table("none"), &[Privilege::Own])
        .await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(guard.require("reader", "table", &table("none"), &select).await.is_ok());
    assert!(
        guard
            .require("root", "table", &table("none"), &[Privilege::Own])
            .await
            .is_ok()
    );
    let schema = guard.require_on_schema("bob", "lake", "s", Privilege::Create).await;
    assert_eq!(schema.unwrap_err().kind(), ErrorKind::NotFound);
    let schema = guard.require_on_schema("reader", "lake", "s", Privilege::Create).await;
    let error = schema.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::PermissionDenied, "42501"));
    assert_eq!(
        error.to_string(),
        "reader lacks the privilege CREATE on the schema lake.s"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_waited_is_asked_again() {
    let house = house(&[]).await;
    let (object, name) = (Object::Relation("t".to_owned()), table("t"));
    let grants = [grant(object, "bob", Privilege::Select)];
    let place = ("lake", "s");
    house.access.guard().change("root", place, &grants, true).await.unwrap();
    let guard = house.access.guard();
    guard
        .require("bob", "table", &name, &[Privilege::Select])
        .await
        .unwrap();
    guard.recheck().await.unwrap();
    house
        .access
        .guard()
        .change("root", place, &grants, false)
        .await
        .unwrap();
    assert_eq!(guard.recheck().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_name_meant_before_is_forgotten() {
    let house = house(&[(Privilege::Create, "alice")]).await;
    let object = Object::Relation("t".to_owned());
    let place = ("lake", "s");
    let guard = house.access.guard();
    guard.take("bob", place, &object).await.unwrap();
    let left = [grant(object.clone(), "carol", Privilege::Select)];
    guard.change("root", place, &left, true).await.unwrap();
    // The owner of what is gone may not make another of its name; who may is the only one with rights on it.
    let refused = house.access.guard().before_creating("bob", &table("t"), true).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    let guard = house.access.guard();
    let making = guard.before_creating("alice", &table("t"), true).await.unwrap();
    let grants = house.access.guard().grants("lake", "s").await.unwrap();
    assert_eq!((grants.owner(&object), grants.on(&object).count()), (None, 0));
    guard.after_creating(making).await.unwrap();
    let grants = house.access.guard().grants("lake", "s").await.unwrap();
    assert_eq!(grants.owner(&object), Some("alice"));
    assert!(house.lakehouse.list_tables("lake", "s").await.unwrap().is_empty());
}

#[test]
fn the_configuration_is_checked() {
    let lake = "lake".to_owned();
    let check = |text: &str, anonymous: bool, expect: Option<&str>| {
        let config: Config =
            figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(text))
                .extract()
                .unwrap();
        let found = config
            .validate(&[&lake], anonymous)
            .err()
            .map(|error| error.to_string());
        match (found, expect) {
            (None, None) => {}
            (Some(found), Some(expect)) => assert!(found.starts_with(expect), "{text}: {found}"),
            (found, expect) => panic!("{text}: {found:?} and not {expect:?}"),
        }
    };
    let on = "enabled = true\nadmins = [\"root\"]\n";
    check("", true, None);
    check(on, false, None);
    check(on, true, Some("access.enabled"));
    check("enabled = true", false, Some("access.admins"));
    check("admins = [\"root\"]", false, Some("access.enabled"));
    check(
        &format!("{on}[catalogs.lake]\nselect = [\"a\"]\nown = [\"b\"]"),
        false,
        None,
    );
    check(
        &format!("{on}[catalogs.lke]\nselect = [\"a\"]"),
        false,
        Some("access.catalogs.lke"),
    );
}
