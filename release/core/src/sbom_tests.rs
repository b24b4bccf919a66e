use super::*;
use crate::edition::{Architecture, Time, Version};

const METADATA: &str = r#"{"packages": [
    {"name": "vk-node", "version": "0.1.0", "license": "Apache-2.0", "description": null, "source": null, "manifest_path": "/x/Cargo.toml"},
    {"name": "vk-task", "version": "0.1.0", "license": "Apache-2.0", "description": null, "source": null, "manifest_path": "/x/Cargo.toml"},
    {"name": "tokio", "version": "1.2.3", "license": "MIT", "description": "An\n event loop", "source": "registry+x", "manifest_path": "/r/Cargo.toml"},
    {"name": "old", "version": "0.2.0", "license": "MIT / Apache-2.0", "description": null, "source": "registry+x", "manifest_path": "/r/Cargo.toml"},
    {"name": "bare", "version": "0.2.0", "license": null, "description": null, "source": "registry+x", "manifest_path": "/r/Cargo.toml"}
]}"#;
const LOCK: &str = r#"version = 4
[[package]]
name = "tokio"
version = "1.2.3"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
"#;
const LINKED: &str = "0vk-node v0.1.0 (/x)|\n1tokio v1.2.3|net,rt\n1vk-task v0.1.0 (/x/task)|\n";
const ALL: &str = "0vk-node v0.1.0 (/x)|\n1old v0.2.0 (proc-macro)|\n1tokio v1.2.3|net,rt\n1vk-task v0.1.0 (/x/task)|\n2tokio v1.2.3|net,rt (*)\n";

fn known() -> Known {
    let glibc = Linked { name: "glibc", version: "2.36".to_owned(), license: "LGPL-2.1-or-later" };
    Known::new(METADATA.as_bytes(), LOCK, vec![glibc], "x86_64-unknown-linux-gnu".to_owned()).unwrap()
}

fn sbom(told: Told<'_>) -> Result<Vec<u8>, Error> {
    let edition = Edition {
        version: Version::new("0.1.0", false),
        architecture: Architecture::Amd64,
        revision: String::new(),
        time: Time::of_epoch(1_700_000_000),
    };
    known().sbom(Program::Node, b"program", told, &edition)
}

#[test]
fn it_says_what_is_in_the_program_and_what_built_it() {
    let written = sbom(Told { linked: LINKED, all: ALL }).unwrap();
    assert_eq!(written, sbom(Told { linked: LINKED, all: ALL }).unwrap());
    let said: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!((&said["bomFormat"], &said["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(said["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    let program = &said["metadata"]["component"];
    assert_eq!((&program["type"], &program["name"]), (&"application".into(), &"vk-node".into()));
    assert_eq!(program["hashes"][0]["content"], sha256(b"program"));
    let of = |name: &str| {
        let components = said["components"].as_array().unwrap();
        components.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {said}")).clone()
    };
    let tokio = of("tokio");
    assert_eq!((&tokio["scope"], &tokio["purl"]), (&"required".into(), &"pkg:cargo/tokio@1.2.3".into()));
    assert_eq!(tokio["licenses"][0]["expression"], "MIT");
    assert_eq!(tokio["hashes"][0]["content"], "0123456789abcdef".repeat(4));
    assert_eq!((&tokio["description"], &tokio["properties"][0]["value"]), (&"An event loop".into(), &"net,rt".into()));
    assert_eq!(
        (&of("old")["scope"], &of("old")["licenses"][0]["expression"]),
        (&"excluded".into(), &"MIT OR Apache-2.0".into())
    );
    assert_eq!(of("vk-task")["purl"], serde_json::Value::Null);
    assert_eq!(of("glibc")["licenses"][0]["expression"], "LGPL-2.1-or-later");
    let needs = said["dependencies"].as_array().unwrap().iter().find(|one| one["ref"] == "vk-node@0.1.0").unwrap();
    assert_eq!(needs["dependsOn"], serde_json::json!(["old@0.2.0", "tokio@1.2.3", "vk-task@0.1.0", "glibc@2.36"]));
    // And what reads such files reads this one.
    let read = Bom::parse_from_json_v1_5(&written[..]).unwrap();
    assert!(read.validate().passed());
}

#[test]
fn what_is_linked_and_not_ours_is_told_with_its_license() {
    let known = known();
    let linked = known.linked(Told { linked: LINKED, all: ALL }).unwrap();
    let linked: Vec<_> = linked.iter().map(|one| (one.package.to_string(), &*one.license, one.manifest)).collect();
    let expected = [
        ("tokio@1.2.3".to_owned(), "MIT", Some("/r/Cargo.toml")),
        ("glibc@2.36".to_owned(), "LGPL-2.1-or-later", None),
    ];
    assert_eq!(linked, expected);
}

#[test]
fn a_crate_without_a_license_is_no_part_of_a_release() {
    let bare = "0vk-node v0.1.0 (/x)|\n1bare v0.2.0|\n";
    assert!(matches!(sbom(Told { linked: bare, all: bare }), Err(Error::NoLicense(key)) if key.name == "bare"));
    let strange = "0vk-node v0.1.0 (/x)|\n1strange v0.2.0|\n";
    assert!(matches!(sbom(Told { linked: strange, all: strange }), Err(Error::Unknown(_))));
}
