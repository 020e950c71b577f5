//! Loans that end, are renewed, replaced and given up.

use std::sync::Mutex as Guarded;
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use futures::future::try_join_all;
use object_store::CredentialProvider;

use super::*;

/// The id of a key says when it ends, in milliseconds from the start of the test.
fn loan(prefix: &str, id: &str, expires: Option<SystemTime>) -> Loan {
    Loan {
        prefix: prefix.to_owned(),
        access_key_id: Secret::new(id),
        secret_access_key: Secret::new("key"),
        session_token: None,
        expires,
        endpoint: None,
        region: None,
        path_style: None,
    }
}

#[derive(Debug)]
struct Bank {
    prefixes: Vec<&'static str>,
    life: Duration,
    lent: Guarded<Vec<SystemTime>>,
    broken: bool,
}

impl Bank {
    fn new(prefixes: Vec<&'static str>, life: Duration) -> Self {
        Self {
            prefixes,
            life,
            lent: Guarded::default(),
            broken: false,
        }
    }

    fn loans(&self) -> Vec<Loan> {
        let end = SystemTime::now() + self.life;
        let mut lent = self.lent.lock().unwrap();
        lent.push(end);
        let id = (lent.len() - 1).to_string();
        self.prefixes
            .iter()
            .map(|prefix| loan(prefix, &id, Some(end)))
            .collect()
    }
}

#[async_trait]
impl Lender for Bank {
    async fn lend(&self) -> Result<Vec<Loan>> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        match self.broken {
            true => Err(Error::Config {
                key: "bank".to_owned(),
                detail: "closed".to_owned(),
            }),
            false => Ok(self.loans()),
        }
    }

    fn id(&self) -> &str {
        if self.broken { "broken" } else { "bank" }
    }
}

async fn key(loans: &Loans, key: &str) -> Option<String> {
    let account = loans.find("s3://b/", key)?;
    Some(account.purse.get_credential().await.unwrap().key_id.clone())
}

#[tokio::test]
async fn the_longest_prefix_counts() {
    let loans = Loans::new(&[]);
    assert!(!loans.has_any("s3://b/"));
    for (prefix, id) in [("s3://b/t/", "table"), ("s3a://b/t/x", "part"), ("s3://c", "all")] {
        loans.keep(loan(prefix, id, None), None).unwrap();
    }
    assert!(loans.has_any("s3://b/") && loans.has_any("s3://c/"));
    assert_eq!(key(&loans, "t/a/b").await.as_deref(), Some("table"));
    assert_eq!(key(&loans, "t").await.as_deref(), Some("table"));
    assert_eq!(key(&loans, "t/x/b").await.as_deref(), Some("part"));
    assert_eq!(key(&loans, "t/xy/b").await.as_deref(), Some("table"));
    assert_eq!(key(&loans, "tt/x").await, None);
    let everything = loans.find("s3://c/", "any/thing").unwrap();
    assert_eq!(everything.purse.prefix, "s3://c");
    assert!(loans.store("s3://b/", &Path::from("u")).is_none());
    assert!(loans.keep(loan("nowhere", "x", None), None).is_err());
}

#[tokio::test]
async fn one_of_many_borrows_anew_and_none_gets_what_has_ended() {
    let (life, loans) = (Duration::from_millis(600), Loans::new(&[]));
    let bank = Arc::new(Bank::new(vec!["s3://b/t", "s3://b/u"], life));
    loans.borrow(bank.loans(), Arc::clone(&bank) as _).unwrap();
    let began = SystemTime::now();
    let asking = (0..20).map(async |number| {
        while began.elapsed().unwrap() < 4 * life {
            let id: usize = key(&loans, if number % 2 == 0 { "t" } else { "u" })
                .await
                .unwrap()
                .parse()
                .unwrap();
            let end = bank.lent.lock().unwrap()[id];
            if end < SystemTime::now() {
                return Err(format!("{id} ended at {end:?}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    });
    try_join_all(asking).await.unwrap();
    let lent = bank.lent.lock().unwrap().len();
    assert!((4..=6).contains(&lent), "lent {lent} times in four lives");
}

#[tokio::test]
async fn a_lender_that_fails_is_trouble_only_when_the_loan_has_ended() {
    let loans = Loans::new(&[]);
    let bank = Arc::new(Bank {
        broken: true,
        ..Bank::new(vec!["s3://b/t"], Duration::from_millis(1200))
    });
    loans.borrow(bank.loans(), Arc::clone(&bank) as _).unwrap();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(key(&loans, "t").await.as_deref(), Some("0"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let purse = loans.find("s3://b/", "t").unwrap().purse;
    let failed = purse.get_credential().await.unwrap_err();
    assert!(format!("{failed:?}").contains("closed"), "{failed:?}");
}

#[tokio::test]
async fn what_comes_again_soon_is_left_and_what_is_old_replaced() {
    let loans = Loans::new(&[]);
    let bank = Arc::new(Bank::new(vec!["s3://b/t"], Duration::from_millis(400)));
    for expected in ["0", "0"] {
        loans.borrow(bank.loans(), Arc::clone(&bank) as _).unwrap();
        assert_eq!(key(&loans, "t").await.as_deref(), Some(expected));
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    loans.borrow(bank.loans(), Arc::clone(&bank) as _).unwrap();
    assert_eq!(key(&loans, "t").await.as_deref(), Some("2"));
    // One that never ends may have been taken back by now.
    for id in ["a", "b"] {
        loans
            .borrow(vec![loan("s3://b/v", id, None)], Arc::clone(&bank) as _)
            .unwrap();
        assert_eq!(key(&loans, "v").await.as_deref(), Some(id));
    }
}

#[tokio::test]
async fn what_is_lent_no_more_is_forgotten_when_it_ends() {
    let loans = Loans::new(&[]);
    let bank = Arc::new(Bank::new(vec!["s3://b/t"], Duration::from_millis(100)));
    let empty = Arc::new(Bank::new(Vec::new(), Duration::from_millis(100)));
    loans.borrow(bank.loans(), empty).unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    let purse = loans.find("s3://b/", "t").unwrap().purse;
    assert!(purse.get_credential().await.is_err());
    assert!(loans.find("s3://b/", "t").is_none());
}

#[tokio::test]
async fn another_lender_takes_the_place_of_one_that_lends_no_more() {
    let loans = Loans::new(&[]);
    let life = Duration::from_millis(400);
    let staged = Arc::new(Bank {
        broken: true,
        ..Bank::new(vec!["s3://b/t"], life)
    });
    let loaded = Arc::new(Bank::new(vec!["s3://b/t"], life));
    loans.borrow(staged.loans(), staged).unwrap();
    loans.borrow(loaded.loans(), Arc::clone(&loaded) as _).unwrap();
    tokio::time::sleep(life).await;
    assert_eq!(key(&loans, "t").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn who_cannot_ask_waits_for_news() {
    let loans = Loans::new(&[]);
    let end = SystemTime::now() + Duration::from_millis(50);
    loans.keep(loan("s3://b/t", "old", Some(end)), None).unwrap();
    assert_eq!(key(&loans, "t").await.as_deref(), Some("old"));
    tokio::time::sleep(Duration::from_millis(60)).await;
    let told = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let end = SystemTime::now() + Duration::from_secs(60);
        loans.keep(loan("s3://b/t", "new", Some(end)), None).unwrap();
    };
    let (found, ()) = tokio::join!(key(&loans, "t"), told);
    assert_eq!(found.as_deref(), Some("new"));
}

#[tokio::test]
async fn what_has_ended_and_was_not_replaced_in_time_counts_no_more() {
    let loans = Loans::new(&[]);
    let ago = |seconds| Some(SystemTime::now() - Duration::from_secs(seconds));
    for (prefix, end) in [("s3://b/old", ago(11)), ("s3://b/new", ago(1)), ("s3://b/ever", None)] {
        loans.keep(loan(prefix, "id", end), None).unwrap();
    }
    let counts = |key: &str| loans.store("s3://b/", &Path::from(key)).is_some();
    assert_eq!(
        [counts("old/x"), counts("new/x"), counts("ever/x")],
        [false, true, true]
    );
    assert!(loans.find("s3://b/", "old").is_none());
}

#[tokio::test]
async fn a_scan_needs_all_that_was_lent_for_its_table() {
    let loans = Loans::new(&[]);
    let hour = Duration::from_secs(3600);
    let (table, other) = (
        Arc::new(Bank::new(vec!["s3://b/data", "s3://b/deletes"], hour)),
        Arc::new(Bank {
            broken: true,
            ..Bank::new(vec!["s3://b/other"], hour)
        }),
    );
    loans.borrow(table.loans(), table).unwrap();
    loans.borrow(other.loans(), other).unwrap();
    let source = Arc::new(ParquetSource::new(Arc::new(Schema::empty())));
    let file = PartitionedFile::new("data/1.parquet", 1);
    let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse("s3://b").unwrap(), source).with_file(file);
    let used = loans.used_by(&[DataSourceExec::from_data_source(scan.build())]);
    let prefixes: HashSet<&str> = used.0.iter().map(|purse| &*purse.prefix).collect();
    assert_eq!(prefixes, HashSet::from(["s3://b/data", "s3://b/deletes"]));
}

#[tokio::test]
async fn nothing_shows_a_key_and_the_number_of_loans_is_bounded() {
    let loans = Loans::new(&[]);
    let in_time = |seconds| Some(SystemTime::now() + Duration::from_secs(seconds));
    loans.keep(loan("s3://b/first", "id", in_time(1)), None).unwrap();
    for number in 0..LOANS_MAX {
        loans
            .keep(loan(&format!("s3://b/{number}"), "id", in_time(60)), None)
            .unwrap();
    }
    assert!(loans.find("s3://b/", "first").is_none());
    assert!(loans.find("s3://b/", "0").is_some());
    let shown = format!("{:?}", loans.find("s3://b/", "0"));
    assert!(!shown.contains("\"key\""), "{shown}");
}
