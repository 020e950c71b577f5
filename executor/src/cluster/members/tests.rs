//! Who gets tasks, and whose queries learn that an executor is gone.

use super::*;

fn address(name: &str) -> Url {
    Url::parse(&format!("http://{name}:31417")).unwrap()
}

fn ready(instance: &str) -> Health {
    Health::Ready {
        instance: instance.to_owned(),
        cores: 4,
        results: None,
    }
}

fn peer(name: &str, instance: &str) -> Peer {
    Peer {
        address: address(name),
        instance: instance.to_owned(),
    }
}

/// `a` is ready, `b` is lost, `c` refuses and `d` drains.
fn members() -> Members {
    let members = Members::default();
    members.set(&["a", "b", "c", "d"].map(address));
    assert!(!members.all_known());
    members.found(&address("a"), ready("1"));
    let reason = "gone".to_owned();
    members.found(&address("b"), Health::Lost { reason: reason.clone() });
    members.found(&address("c"), Health::Refusing { reason });
    let instance = "1".to_owned();
    members.found(&address("d"), Health::Draining { instance });
    members
}

#[tokio::test]
async fn only_the_ready_get_tasks() {
    let members = members();
    assert!(members.all_known());
    assert_eq!(members.usable(None, &HashSet::new()), [peer("a", "1")]);
    assert_eq!(members.cores(), Some(4));

    members.suspect(&address("a"));
    assert!(members.usable(None, &HashSet::new()).is_empty());
    members.suspected(&address("a")).await;
    members.found(&address("a"), ready("1"));
    assert_eq!(members.usable(None, &HashSet::new()), [peer("a", "1")]);

    let excluded = HashSet::from([peer("a", "1")]);
    assert!(members.usable(None, &excluded).is_empty());
    members.found(&address("a"), ready("2"));
    assert_eq!(
        members.usable(None, &excluded),
        [peer("a", "2")],
        "it was started again"
    );

    members.set(&[address("b")]);
    assert!(members.usable(None, &HashSet::new()).is_empty());
    members.found(&address("a"), ready("1"));
    assert_eq!(members.addresses(), [address("b")], "it is listed no more");
}

#[tokio::test]
async fn who_waits_hears_why_in_vain() {
    let members = members();
    let excluded = HashSet::from([peer("a", "1")]);
    members.found(
        &address("a"),
        Health::Lost {
            reason: "Connection refused".to_owned(),
        },
    );
    let error = members.ready(&excluded, Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "executor http://a:31417 is unreachable: Connection refused"
    );
    let waiting = members.ready(&excluded, Duration::from_secs(60));
    let returns = async {
        tokio::task::yield_now().await;
        members.found(&address("a"), ready("2"));
    };
    let (peers, ()) = tokio::join!(waiting, returns);
    assert_eq!(peers.unwrap(), [peer("a", "2")]);
    let nobody = Members::default();
    let error = nobody.ready(&excluded, Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, Error::NoExecutors));
}

#[tokio::test]
async fn a_restart_is_a_loss_and_a_drain_is_none() {
    let check = async |after: Health, lost: bool| {
        let members = members();
        let peers = [peer("a", "1")];
        members.found(&address("a"), after.clone());
        let loss = tokio::time::timeout(Duration::from_millis(20), members.loss(&peers)).await;
        assert_eq!(loss.is_ok(), lost, "{after:?}");
    };
    let reason = String::new();
    check(ready("1"), false).await;
    check(ready("2"), true).await;
    check(Health::Lost { reason: reason.clone() }, true).await;
    check(Health::Refusing { reason }, false).await;
    let instance = "1".to_owned();
    check(Health::Draining { instance }, false).await;
}

#[tokio::test]
async fn a_set_is_gathered() {
    let members = Members::default();
    let place = |name: &str, set: &str| (address(name), Arc::from(set));
    members.place(&[place("a", "spot"), place("b", "spot"), place("c", "safe")]);
    members.found(&address("c"), ready("1"));
    let (none, moment) = (HashSet::new(), Duration::from_millis(10));
    let gathered = members.gather("spot", &none, 2, (moment, moment)).await;
    assert_eq!(gathered, [], "the other set's executor is not ours");
    let waiting = members.gather("spot", &none, 2, (Duration::from_secs(60), Duration::from_secs(60)));
    let come = async {
        members.found(&address("a"), ready("1"));
        tokio::task::yield_now().await;
        members.found(&address("b"), ready("1"));
    };
    let (peers, ()) = tokio::join!(waiting, come);
    assert_eq!(peers, [peer("a", "1"), peer("b", "1")]);
    let some = members.gather("spot", &none, 3, (moment, moment)).await;
    assert_eq!(some.len(), 2, "what there is suffices in the end");
}

#[test]
fn who_idles_since_when() {
    let members = Members::default();
    members.set(&[address("a")]);
    members.found(&address("a"), ready("1"));
    let idle = |calls: u32| {
        members.works(&address("a"), calls);
        let seen = members.seen().remove(0);
        assert_eq!(seen.calls, calls);
        seen.idle_since
    };
    let first = idle(0);
    assert!(first.is_some());
    assert_eq!(idle(0), first, "it has idled since then");
    assert_eq!(idle(3), None);
    assert!(idle(0) >= first);
}
