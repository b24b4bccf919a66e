use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequestCondition, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use k8s_openapi::api::core::v1::{NodeAddress, NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::*;

const NODE: &str = "system:node:vk-a";

/// Without any fleet.
fn decide(request: &CertificateSigningRequest, node: Option<&Node>) -> Decision {
    super::decide(request, node, &[])
}

/// A request in PEM for this subject and these names.
fn pem(subject: &[(DnType, &str)], names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.subject_alt_names = names;
    change(&mut params);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap().into_bytes()
}

fn of_node(name: &str) -> Vec<(DnType, &str)> {
    vec![(DnType::OrganizationName, "system:nodes"), (DnType::CommonName, name)]
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

/// By that node itself.
fn request(purpose: Purpose, pem: Vec<u8>) -> CertificateSigningRequest {
    CertificateSigningRequest {
        spec: CertificateSigningRequestSpec {
            signer_name: purpose.signer().to_owned(),
            usages: Some(purpose.usages().map(str::to_owned).to_vec()),
            request: ByteString(pem),
            username: Some(NODE.to_owned()),
            groups: Some(vec!["system:nodes".to_owned(), "system:authenticated".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    }
}

fn serving(names: Vec<SanType>) -> CertificateSigningRequest {
    request(Purpose::Serving, pem(&of_node(NODE), names, |_| {}))
}

fn good_serving() -> CertificateSigningRequest {
    serving(vec![dns("login07"), ip("10.0.0.7")])
}

fn client() -> CertificateSigningRequest {
    request(Purpose::Client, pem(&of_node(NODE), Vec::new(), |_| {}))
}

/// The first of a node.
fn by_token() -> CertificateSigningRequest {
    let mut request = client();
    request.spec.username = Some("system:bootstrap:abcdef".to_owned());
    request.spec.groups = Some(vec!["system:bootstrappers".to_owned(), BOOTSTRAP_GROUP.to_owned()]);
    request
}

fn node(ready: &str) -> Node {
    let address = |kind: &str, address: &str| NodeAddress { type_: kind.into(), address: address.into() };
    Node {
        metadata: ObjectMeta {
            name: Some("vk-a".to_owned()),
            labels: Some([(labels::NODE_TYPE.to_owned(), labels::NODE_TYPE_VALUE.to_owned())].into()),
            ..ObjectMeta::default()
        },
        status: Some(NodeStatus {
            addresses: Some(vec![address("InternalIP", "10.0.0.7"), address("Hostname", "login07")]),
            conditions: Some(vec![NodeCondition {
                type_: "Ready".into(),
                status: ready.into(),
                ..NodeCondition::default()
            }]),
            ..NodeStatus::default()
        }),
        ..Node::default()
    }
}

fn other_node() -> Node {
    let mut node = node("True");
    node.metadata.labels = None;
    node
}

fn name() -> NodeName {
    NodeName::parse("vk-a").unwrap()
}

fn approve() -> Decision {
    Decision::Approve(name())
}

#[test]
fn what_a_node_asks_for_itself_is_approved() {
    let node = node("True");
    assert_eq!(decide(&good_serving(), Some(&node)), approve());
    assert_eq!(decide(&serving(vec![ip("10.0.0.7")]), Some(&node)), approve());
    assert_eq!(decide(&serving(vec![dns("vk-a")]), Some(&node)), approve());
    assert_eq!(decide(&client(), Some(&node)), approve());
    assert_eq!(decide(&client(), None), approve());
    for mut request in [good_serving(), client()] {
        let usages = request.spec.usages.get_or_insert_default();
        usages.push(RSA_USAGE.to_owned());
        usages.reverse();
        assert_eq!(decide(&request, Some(&node)), approve());
        assert_eq!(node_to_look_at(&request), Some(name()));
    }
}

#[test]
fn a_token_may_become_a_node_that_is_not_there() {
    assert_eq!(decide(&by_token(), None), approve());
    assert_eq!(decide(&by_token(), Some(&node("False"))), approve());
    assert_eq!(decide(&by_token(), Some(&node("Unknown"))), approve());
    assert_eq!(decide(&by_token(), Some(&node("True"))), Decision::Later(Why::Taken(name())));
    assert_eq!(decide(&by_token(), Some(&other_node())), Decision::Leave(Why::OtherNode(name())));
}

#[test]
fn what_is_decided_or_is_not_ours_is_not_touched() {
    for kind in ["Approved", "Denied", "Failed"] {
        let mut request = good_serving();
        let condition = CertificateSigningRequestCondition {
            type_: kind.into(),
            status: "True".into(),
            ..CertificateSigningRequestCondition::default()
        };
        request.status = Some(CertificateSigningRequestStatus {
            conditions: Some(vec![condition]),
            ..CertificateSigningRequestStatus::default()
        });
        assert_eq!(decide(&request, Some(&node("True"))), Decision::Nothing, "{kind}");
        assert_eq!(node_to_look_at(&request), None);
    }
    let mut request = good_serving();
    request.spec.signer_name = "kubernetes.io/kube-apiserver-client".into();
    assert_eq!(decide(&request, Some(&node("True"))), Decision::Nothing);
}

#[test]
fn a_serving_certificate_waits_for_the_addresses_of_its_node() {
    assert_eq!(decide(&good_serving(), None), Decision::Later(Why::NoNode(name())));
    let asked = |names| decide(&serving(names), Some(&node("True")));
    let other = |what: &str| Decision::Later(Why::NotItsName(what.to_owned()));
    assert_eq!(asked(vec![ip("10.0.0.7"), ip("10.0.0.8")]), other("10.0.0.8"));
    assert_eq!(asked(vec![dns("login07"), dns("kubernetes.default.svc")]), other("kubernetes.default.svc"));
    assert_eq!(asked(vec![dns("*")]), other("*"));
    assert_eq!(asked(vec![dns("10.0.0.7")]), other("10.0.0.7"));
    assert_eq!(decide(&good_serving(), Some(&other_node())), Decision::Leave(Why::OtherNode(name())));
}

/// Each with one thing wrong.
#[test]
fn all_else_is_left_to_people() {
    let left = |request: &CertificateSigningRequest| match decide(request, Some(&node("False"))) {
        Decision::Leave(why) => why,
        other @ (Decision::Nothing | Decision::Approve(_) | Decision::Later(_) | Decision::Mend(_)) => {
            panic!("{other:?}")
        }
    };
    let with = |change: &dyn Fn(&mut CertificateSigningRequestSpec)| {
        [good_serving(), client(), by_token()].map(|mut request| {
            change(&mut request.spec);
            left(&request)
        })
    };
    for why in with(&|spec| spec.username = Some("system:node:vk-b".into())) {
        assert_eq!(why, Why::Requestor("system:node:vk-b".into()));
    }
    for why in with(&|spec| spec.groups = Some(vec!["system:authenticated".into()])) {
        assert!(matches!(why, Why::Requestor(_)));
    }
    for usages in [&["digital signature"][..], &["digital signature", "client auth", "server auth"], &["any"], &[]] {
        for why in with(&|spec| spec.usages = Some(usages.iter().map(|usage| (*usage).to_owned()).collect())) {
            assert!(matches!(why, Why::Usages(_)), "{why:?}");
        }
    }
    // A bootstrap token is for clients only, and one of another group for none of ours.
    let mut token_for_serving = good_serving();
    token_for_serving.spec.username = by_token().spec.username;
    token_for_serving.spec.groups = by_token().spec.groups;
    assert!(matches!(left(&token_for_serving), Why::Requestor(_)));
    let mut other_token = by_token();
    other_token.spec.groups = Some(vec!["system:bootstrappers".into()]);
    assert!(matches!(left(&other_token), Why::Requestor(_)));

    for subject in [
        of_node("system:node:master-1"),
        of_node("vk-a"),
        of_node("system:node:vk-A"),
        vec![(DnType::CommonName, NODE)],
        vec![(DnType::OrganizationName, "system:masters"), (DnType::CommonName, NODE)],
        [of_node(NODE), vec![(DnType::OrganizationalUnitName, "more")]].concat(),
        vec![(DnType::OrganizationName, "system:nodes")],
    ] {
        let mut request = client();
        request.spec.request = ByteString(pem(&subject, Vec::new(), |_| {}));
        assert!(matches!(left(&request), Why::Subject(_)), "{subject:?}");
    }
    assert_eq!(left(&serving(Vec::new())), Why::NoNames);
    let named_client = request(Purpose::Client, pem(&of_node(NODE), vec![dns("login07")], |_| {}));
    assert_eq!(left(&named_client), Why::ClientNames);
    for name in [
        SanType::URI("spiffe://cluster/vk-a".try_into().unwrap()),
        SanType::Rfc822Name("me@example.org".try_into().unwrap()),
    ] {
        assert!(matches!(left(&serving(vec![ip("10.0.0.7"), name])), Why::Extension(_)));
    }
    let extended = |change: fn(&mut CertificateParams)| {
        left(&request(Purpose::Serving, pem(&of_node(NODE), vec![ip("10.0.0.7")], change)))
    };
    assert!(matches!(extended(|p| p.key_usages = vec![KeyUsagePurpose::KeyCertSign]), Why::Extension(_)));
    assert!(matches!(extended(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]), Why::Extension(_)));
    assert!(matches!(
        extended(|p| p.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])]),
        Why::Extension(_)
    ));
}

#[test]
fn what_is_no_request_is_left() {
    let good = good_serving().spec.request.0;
    let twice = [good.clone(), good].concat();
    let key = KeyPair::generate().unwrap().serialize_pem().into_bytes();
    for bytes in [Vec::new(), b"nothing".to_vec(), key, twice] {
        let request = request(Purpose::Serving, bytes);
        assert!(matches!(decide(&request, Some(&node("True"))), Decision::Leave(Why::Unreadable(_))));
        assert_eq!(node_to_look_at(&request), None);
    }
}

proptest::proptest! {
    /// Anybody who may ask for a certificate may write anything into the request.
    #[test]
    fn whatever_is_written_is_read_or_left(at in 0_usize..400, bytes in proptest::collection::vec(0_u8.., 0..40)) {
        let der = x509_parser::pem::parse_x509_pem(&good_serving().spec.request.0).unwrap().1.contents;
        let mut damaged = der.clone();
        let at = at.min(damaged.len());
        damaged.splice(at..damaged.len().min(at + bytes.len()), bytes);
        let pem = pem_of(&damaged);
        // Damage elsewhere, to the key or the signature, is for the signer to see.
        match decide(&request(Purpose::Serving, pem), Some(&node("True"))) {
            Decision::Approve(approved) => proptest::prop_assert_eq!(approved, name()),
            Decision::Leave(_) | Decision::Later(_) | Decision::Mend(_) => {}
            Decision::Nothing => proptest::prop_assert!(false, "it is of our signer and undecided"),
        }
    }
}

fn pem_of(der: &[u8]) -> Vec<u8> {
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n").into_bytes()
}

fn fleet(name: &str, patterns: Option<&[&str]>) -> CmdFleet {
    let spec = serde_json::json!({"nodeNames": patterns});
    serde_json::from_value(serde_json::json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": name}, "spec": spec,
    }))
    .unwrap()
}

#[test]
fn a_fleets_token_is_for_names_of_that_fleet() {
    let mut request = by_token();
    request.spec.groups.get_or_insert_default().push("system:bootstrappers:vk-cmd:f".to_owned());
    let decide = |fleets: &[CmdFleet]| super::decide(&request, None, fleets);
    let says = |fleets: &[CmdFleet], words: &str| match decide(fleets) {
        Decision::Mend(why) => assert!(why.to_string().contains(words), "{why}"),
        other @ (Decision::Nothing | Decision::Approve(_) | Decision::Later(_) | Decision::Leave(_)) => {
            panic!("{other:?}")
        }
    };
    assert_eq!(fleets_to_look_at(&request), ["f"]);
    assert_eq!(decide(&[fleet("f", Some(&["vk-b", "vk-?"]))]), approve());
    assert_eq!(decide(&[fleet("f", Some(&["vk-*"]))]), approve());
    says(&[], "no such CmdFleet");
    says(&[fleet("g", Some(&["vk-*"]))], "the fleet f, and there is no such CmdFleet");
    // Its own names are vk-f and vk-f-*.
    says(&[fleet("f", None)], "has not the name vk-a (but vk-f, vk-f-*)");
    says(&[fleet("f", Some(&["vk-a-*"])), fleet("g", Some(&["vk-*"]))], "(but vk-a-*)");
    // What is wrong anyhow stays so, and a node that renews its certificate is not asked for its fleet.
    let f = [fleet("f", Some(&["vk-*"]))];
    assert_eq!(super::decide(&request, Some(&node("True")), &f), Decision::Later(Why::Taken(name())));
    assert_eq!(super::decide(&client(), Some(&node("True")), &[]), approve());
    request.spec.groups = Some(vec!["system:bootstrappers:vk-cmd:f".to_owned()]);
    assert!(matches!(super::decide(&request, None, &f), Decision::Leave(Why::Requestor(_))));
}
