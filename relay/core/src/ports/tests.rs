use proptest::prelude::*;

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn name(n: usize) -> NodeName {
    NodeName::parse(&format!("vk-{n}")).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ledger(ports: &str) -> Ledger {
    Ledger::new(ports.parse().unwrap(), SignedDuration::from_secs(100))
}

#[test]
fn ranges_are_read_whole() {
    for (text, count) in [("20000-29999", Some(10_000)), ("1-65535", Some(65_535)), ("7-7", Some(1))] {
        assert_eq!(text.parse::<PortRange>().ok().map(PortRange::count), count);
    }
    for wrong in ["", "1", "0-5", "9-8", "1-65536", "a-b"] {
        assert!(wrong.parse::<PortRange>().unwrap_err().to_string().contains("20000-29999"), "{wrong}");
    }
}

#[test]
fn a_port_stays_with_its_name() {
    let mut ledger = ledger("20000-29999");
    let (port, is_news) = ledger.arrive(&name(1), at(0)).unwrap();
    assert!(is_news);
    assert_eq!(ledger.arrive(&name(1), at(1)), Ok((port, false)), "a second connection of the same name");
    ledger.leave(&name(1), at(2));
    for n in 2..1000 {
        assert_ne!(ledger.arrive(&name(n), at(3)).unwrap().0, port);
    }
    assert_eq!(ledger.arrive(&name(1), at(1_000_000)), Ok((port, true)));
    // Where nothing was kept it begins the search at the same place.
    assert_eq!(self::ledger("20000-29999").arrive(&name(1), at(0)).unwrap().0, port);
}

#[test]
fn a_port_is_given_to_another_only_when_it_must_and_not_soon() {
    let mut ledger = ledger("10-11");
    let first = ledger.arrive(&name(1), at(0)).unwrap().0;
    ledger.arrive(&name(2), at(0)).unwrap();
    assert!(ledger.arrive(&name(3), at(0)).unwrap_err().to_string().contains("10-11"));
    ledger.leave(&name(1), at(10));
    ledger.leave(&name(2), at(20));
    assert!(ledger.arrive(&name(3), at(109)).is_err(), "it is held");
    assert_eq!(ledger.arrive(&name(3), at(110)), Ok((first, true)), "who was away the longest is forgotten");
    assert!(ledger.arrive(&name(1), at(111)).is_err());
}

#[test]
fn a_port_that_somebody_else_listens_on_is_not_tried_again() {
    let mut ledger = ledger("10-11");
    let first = ledger.arrive(&name(1), at(0)).unwrap().0;
    ledger.is_unusable(&name(1));
    let second = ledger.arrive(&name(1), at(0)).unwrap().0;
    assert_ne!(first, second);
    ledger.is_unusable(&name(1));
    assert!(ledger.arrive(&name(1), at(0)).is_err());
}

#[test]
fn what_was_kept_counts_for_the_same_address_only() {
    let mut ledger = ledger("10-19");
    let port = ledger.arrive(&name(1), at(0)).unwrap().0;
    ledger.arrive(&name(2), at(0)).unwrap();
    ledger.leave(&name(2), at(5));
    let kept = ledger.kept(ADDRESS);
    let text = serde_json::to_string(&kept).unwrap();
    let kept: Kept = serde_json::from_str(&text).unwrap();
    let (range, hold) = (ledger.range, ledger.hold);
    let mut again = Ledger::restored(range, hold, &kept, ADDRESS, at(9));
    assert_eq!(again.seats[&name(2)].away_since, Some(at(5)));
    assert_eq!(again.arrive(&name(1), at(10)), Ok((port, true)));
    let other = Ledger::restored(range, hold, &kept, [10, 0, 0, 1].into(), at(9));
    assert!(other.seats.is_empty());
    let narrower = Ledger::restored("50-60".parse().unwrap(), hold, &kept, ADDRESS, at(9));
    assert!(narrower.seats.is_empty() && narrower.taken.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(usize),
    Leave(usize),
    Unusable(usize),
    Restart,
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12_usize).prop_map(Step::Arrive),
        3 => (0..12_usize).prop_map(Step::Leave),
        1 => (0..12_usize).prop_map(Step::Unusable),
        1 => Just(Step::Restart),
        2 => (1..200_i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever happens, no two names have one port, and nobody who is here or was here lately loses theirs.
    #[test]
    fn no_port_is_anothers(steps in steps()) {
        let mut ledger = ledger("10-15");
        let mut now = 0;
        // Whose a port was last, and until when that must hold.
        let mut owned: BTreeMap<u16, (usize, i64)> = BTreeMap::new();
        let mut here: BTreeSet<usize> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Arrive(n) => if let Ok((port, _)) = ledger.arrive(&name(n), at(now)) {
                    if let Some((owner, until)) = owned.get(&port) && *owner != n {
                        prop_assert!(!here.contains(owner) && now >= *until, "{port} of {owner} was given to {n}");
                    }
                    owned.retain(|_, (owner, _)| *owner != n);
                    owned.insert(port, (n, i64::MAX));
                    here.insert(n);
                },
                Step::Leave(n) => {
                    ledger.leave(&name(n), at(now));
                    if here.remove(&n) {
                        owned.values_mut().filter(|(owner, _)| *owner == n).for_each(|(_, until)| *until = now + 100);
                    }
                }
                Step::Unusable(n) => {
                    ledger.is_unusable(&name(n));
                    here.remove(&n);
                    owned.retain(|_, (owner, _)| *owner != n);
                }
                Step::Restart => {
                    let kept = ledger.kept(ADDRESS);
                    ledger = Ledger::restored(ledger.range, ledger.hold, &kept, ADDRESS, at(now));
                    for n in std::mem::take(&mut here) {
                        owned.values_mut().filter(|(owner, _)| *owner == n).for_each(|(_, until)| *until = now + 100);
                    }
                }
                Step::Wait(seconds) => now += seconds,
            }
            let ports: BTreeSet<u16> = ledger.seats.values().map(|seat| seat.port).collect();
            prop_assert_eq!(ports.len(), ledger.seats.len());
            prop_assert_eq!(&ports, &ledger.taken);
            prop_assert!(ports.iter().all(|port| ledger.range.contains(*port)));
        }
    }
}
