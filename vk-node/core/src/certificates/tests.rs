use k8s_openapi::api::certificates::v1::{CertificateSigningRequestCondition, CertificateSigningRequestStatus};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn names(address: &str) -> Names {
    Names { ips: [address.parse().unwrap()].into(), ..Names::default() }
}

fn wanted() -> Wanted {
    Wanted { purpose: Purpose::Serving, node: "vk-a".into(), names: names("10.0.0.1") }
}

fn good() -> Seen {
    Seen {
        common_name: "system:node:vk-a".into(),
        organizations: vec!["system:nodes".into()],
        purpose: Some(Purpose::Serving),
        names: names("10.0.0.1"),
        not_before: at(1000),
        not_after: at(2000),
        key_matches: true,
    }
}

#[test]
fn a_certificate_is_used_only_where_all_of_it_is_right() {
    assert_eq!(usable(&good(), &wanted(), at(1999)), Ok(()));
    // The clock of a node may be behind that of the signer.
    assert_eq!(usable(&good(), &wanted(), at(1)), Ok(()));
    let cases = [
        (Seen { not_after: at(1999), ..good() }, Unusable::Expired(at(1999))),
        (Seen { common_name: "system:node:vk-b".into(), ..good() }, Unusable::OtherSubject("system:node:vk-b".into())),
        (Seen { organizations: Vec::new(), ..good() }, Unusable::OtherSubject("system:node:vk-a".into())),
        (Seen { purpose: Some(Purpose::Client), ..good() }, Unusable::OtherPurpose),
        (Seen { purpose: None, ..good() }, Unusable::OtherPurpose),
        (Seen { names: names("10.0.0.2"), ..good() }, Unusable::OtherNames),
        (Seen { key_matches: false, ..good() }, Unusable::OtherKey),
    ];
    for (seen, why) in cases {
        assert_eq!(usable(&seen, &wanted(), at(1999)), Err(why));
    }
    let client = Wanted { purpose: Purpose::Client, names: Names::default(), ..wanted() };
    assert_eq!(usable(&Seen { purpose: Some(Purpose::Client), ..good() }, &client, at(1500)), Ok(()));
}

#[test]
fn the_next_is_asked_for_when_most_of_the_time_is_over() {
    let rotate = |rotation| rotate_at(&good(), rotation, at(1100));
    assert_eq!(rotate(Rotation::Jittered(0.0)), at(1700));
    assert_eq!(rotate(Rotation::Jittered(0.5)), at(1800));
    assert_eq!(rotate(Rotation::Jittered(1.0)), at(1900));
    assert_eq!(rotate(Rotation::Jittered(7.0)), at(1900));
    assert_eq!(rotate(Rotation::After(SignedDuration::from_secs(3))), at(1103));
    assert_eq!(rotate(Rotation::After(SignedDuration::MAX)), at(2000));
}

#[test]
fn a_request_asks_for_what_the_signer_wants() {
    let made = request(&wanted(), "PEM".into(), "0123abcd", Some(600));
    assert_eq!(made.metadata.name.as_deref(), Some("vk-a-serving-0123abcd"));
    assert_eq!(made.spec.signer_name, "kubernetes.io/kubelet-serving");
    assert_eq!(made.spec.usages.as_deref(), Some(&["digital signature".to_owned(), "server auth".to_owned()][..]));
    assert_eq!(made.spec.expiration_seconds, Some(600));
    let client = request(&Wanted { purpose: Purpose::Client, ..wanted() }, String::new(), "0", None);
    assert_eq!(client.spec.signer_name, "kubernetes.io/kube-apiserver-client-kubelet");
    assert_eq!(client.metadata.name.as_deref(), Some("vk-a-client-0"));
}

#[test]
fn answers_are_read() {
    let with = |conditions: &[(&str, &str)], certificate: Option<&str>| {
        let condition = |(kind, reason): &(&str, &str)| CertificateSigningRequestCondition {
            type_: (*kind).into(),
            status: "True".into(),
            reason: Some((*reason).into()),
            message: Some(String::new()),
            ..CertificateSigningRequestCondition::default()
        };
        let status = CertificateSigningRequestStatus {
            certificate: certificate.map(|text| ByteString(text.into())),
            conditions: Some(conditions.iter().map(condition).collect()),
        };
        let request = request(&wanted(), String::new(), "0", None);
        answer(Some(&CertificateSigningRequest { status: Some(status), ..request }))
    };
    assert_eq!(answer(None), Answer::Gone);
    assert_eq!(answer(Some(&request(&wanted(), String::new(), "0", None))), Answer::Pending { approved: false });
    assert_eq!(with(&[("Approved", "")], None), Answer::Pending { approved: true });
    assert_eq!(with(&[("Approved", "")], Some("")), Answer::Pending { approved: true });
    assert_eq!(with(&[("Approved", "")], Some("PEM")), Answer::Signed(b"PEM".to_vec()));
    assert_eq!(with(&[("Denied", "No")], None), Answer::Refused { why: "it was denied: No".into() });
    let failed = with(&[("Approved", ""), ("Failed", "")], None);
    assert_eq!(failed, Answer::Refused { why: "the signer refuses it".into() });
}

#[test]
fn pauses_grow_and_have_an_end() {
    let pauses = |setback| [0, 1, 2, 3, 10, 32, u32::MAX].map(|times| pause(setback, times).as_secs());
    assert_eq!(pauses(Setback::Trouble), [1, 1, 2, 4, 300, 300, 300]);
    assert_eq!(pauses(Setback::Refused), [60, 60, 120, 240, 3600, 3600, 3600]);
}
