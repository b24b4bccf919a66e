use std::io::Read as _;

use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};

use super::*;
use crate::edition::{Time, Version};

fn edition() -> Edition {
    Edition {
        version: Version::new("1.2.3", false),
        architecture: Architecture::Amd64,
        revision: "c0ffee".to_owned(),
        time: Time::of_epoch(1_700_000_000),
    }
}

const NODE: &str = include_str!("../../../images/vk-node/Containerfile");
const OPERATOR: &str = include_str!("../../../images/vk-operator/Containerfile");

#[test]
fn our_containerfiles_are_read() {
    let node = Image::parse(Program::Node, NODE).unwrap();
    assert_eq!((&*node.path, &node.user, &node.env), ("vk-node", &None, &vec!["HOME=/root".to_owned()]));
    assert_eq!(node.command, ["run", "--pipe", "external"]);
    let operator = Image::parse(Program::Operator, OPERATOR).unwrap();
    assert_eq!((&*operator.path, operator.user.as_deref()), ("vk-operator", Some("65532:65532")));
    assert_eq!((operator.entrypoint, operator.command), (vec!["/vk-operator".to_owned()], vec!["run".to_owned()]));
}

#[test]
fn what_is_not_known_is_an_error_and_not_left_out() {
    for (text, expected) in [
        ("FROM debian\nCOPY vk-node /vk-node", "an instruction FROM"),
        ("FROM scratch", "no COPY of the program"),
        ("FROM scratch\nCOPY other /other", "COPY of [\"other\"]"),
        ("FROM scratch\nCOPY --chmod=700 vk-node /vk-node", "an instruction COPY"),
        ("FROM scratch\nCOPY vk-node /bin/", "to \"/bin/\""),
        ("FROM scratch\nCOPY vk-node /vk-node\nRUN id", "an instruction RUN"),
        ("FROM scratch\nCOPY vk-node /vk-node\nENV A=$B", "the value \"A=$B\""),
        ("FROM scratch\nCOPY vk-node /vk-node\nCMD run me", "the line \"run me\" for a shell"),
        ("COPY vk-node /vk-node", "does not parse"),
    ] {
        let error = Image::parse(Program::Node, text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// The files of an archive.
fn files(archive: &[u8]) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), bytes);
    }
    files
}

#[test]
fn an_archive_is_a_layout_whose_digests_hold() {
    let image = Image::parse(Program::Operator, OPERATOR).unwrap();
    let archive = image.archive(b"program".to_vec(), "vk-cmd/vk-operator:1.2.3", &edition()).unwrap();
    assert_eq!(archive, image.archive(b"program".to_vec(), "vk-cmd/vk-operator:1.2.3", &edition()).unwrap());
    let files = files(&archive);
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let blob = |descriptor: &Descriptor| {
        let bytes = &files[&format!("blobs/sha256/{}", descriptor.digest().digest())];
        assert_eq!((sha256(bytes), bytes.len() as u64), (descriptor.digest().digest().to_owned(), descriptor.size()));
        bytes.clone()
    };
    let index = ImageIndex::from_reader(&files["index.json"][..]).unwrap();
    let [manifest] = &index.manifests()[..] else { panic!("{index:?}") };
    assert_eq!(manifest.annotations().as_ref().unwrap()[ANNOTATION_REF_NAME], "vk-cmd/vk-operator:1.2.3");
    let manifest = ImageManifest::from_reader(&blob(manifest)[..]).unwrap();
    let configuration = ImageConfiguration::from_reader(&blob(manifest.config())[..]).unwrap();
    assert_eq!(configuration.created().as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(configuration.labels_of_config().unwrap()[ANNOTATION_REVISION], "c0ffee");
    let [layer] = &manifest.layers()[..] else { panic!("{manifest:?}") };
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&blob(layer)[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(configuration.rootfs().diff_ids(), &[format!("sha256:{}", sha256(&unpacked))]);
    assert_eq!(self::files(&unpacked), HashMap::from([("vk-operator".to_owned(), b"program".to_vec())]));
}
