use std::path::Path;

use super::*;
use crate::ending::{EndPlan, Walltime};

fn layer(text: &str) -> Settings {
    read(text, Path::new("/etc/vk")).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    read(text, Path::new("/etc/vk")).unwrap_err().0.iter().map(ToString::to_string).collect()
}

fn finish(settings: Settings) -> NodeConfig {
    settings.finish(Some("/home/u".into())).unwrap()
}

fn environment(pairs: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    from_environment(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn the_documented_example_is_right() {
    let config = finish(layer(include_str!("../../../../docs/reference/node.yaml")));
    let [member] = config.members.as_slice() else { panic!("{config:?}") };
    assert_eq!(member.name.as_str(), "vk-perlmutter-01");
    assert_eq!(member.kubeconfig.as_deref(), Some(Path::new("/etc/vk/node.kubeconfig")), "counts from the file");
    assert_eq!(member.capacity.get("nvidia.com/gpu"), Some(4));
    assert_eq!(member.labels["vk-cmd.io/site"], "perlmutter");
    assert_eq!(member.labels["jiriaf.site"], "perlmutter");
    assert_eq!(config.images[0].command, ["/opt/python/bin/python3"]);
    assert_eq!(config.pressure, Pressure::default(), "the example shows the defaults");
    assert_eq!(member.walltime.said, Some(Duration::from_secs(14_400)));
    assert_eq!(EndPlan { warning: None, ..config.ending.clone() }, EndPlan::default(), "but for the warning signal");
    assert_eq!(config.ending.warning.map(|warning| warning.to_string()).as_deref(), Some("SIGUSR1@300"));
    assert_eq!(
        (config.status_update_every, config.status_report_every),
        (Duration::from_secs(10), Duration::from_secs(300))
    );
    assert_eq!(config.lease_duration, SignedDuration::from_secs(40));
}

#[test]
fn the_documented_gateway_is_right() {
    let text = include_str!("../../../../docs/reference/node.md");
    let yaml: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!yaml.is_empty());
    for yaml in yaml {
        let config = finish(layer(yaml));
        assert!(config.members.len() > 1, "{config:?}");
    }
}

#[test]
fn every_key_of_the_file_is_documented() {
    let example = include_str!("../../../../docs/reference/node.yaml");
    for key in super::read::keys() {
        assert!(example.contains(&format!("{key}:")), "docs/reference/node.yaml says nothing of {key}");
    }
}

#[test]
fn what_is_left_out_is_as_documented() {
    let config = finish(layer("version: 1\nnodeName: vk-a\n"));
    let [member] = config.members.as_slice() else { panic!("{config:?}") };
    assert_eq!((member.port, member.max_pods), (10250, 250));
    assert_eq!(config.pipe.directory, Path::new("/home/u/hostpipe"));
    assert_eq!(config.pipe.owner, PipeOwner::Node);
    assert_eq!((member.walltime, &config.ending), (Walltime::default(), &EndPlan::default()));
}

#[test]
fn flags_stand_over_variables_and_those_over_the_file() {
    let flags = Settings {
        member: MemberSettings {
            max_pods: Some(1),
            labels: BTreeMap::from([("a".into(), "flag".into())]),
            ..MemberSettings::default()
        },
        ..Settings::default()
    };
    let environment = environment(&[
        ("NODENAME", "vk-env"),
        ("KUBELET_PORT", "10300"),
        ("VKUBELET_POD_IP", "172.17.0.1"),
        ("JIRIAF_WALLTIME", "3600"),
        ("JIRIAF_NODETYPE", "cpu"),
        ("JIRIAF_SITE", "Local"),
    ])
    .unwrap();
    let file = layer(
        "version: 1\nnodeName: vk-file\nport: 1\nmaxPods: 2\nlabels: {a: file, b: file}\nsite: elsewhere\nfleet: f\n\
         address: 10.0.0.1\nlistenAddress: 10.0.0.2\n",
    );
    let config = finish(flags.over(environment).over(file));
    let member = &config.members[0];
    assert_eq!((member.name.as_str(), member.port, member.max_pods), ("vk-env", 10300, 1));
    assert_eq!(member.address, Some("172.17.0.1".parse().unwrap()));
    assert_eq!(member.listen_address, Some("0.0.0.0".parse().unwrap()), "the address may be the other end of a tunnel");
    assert_eq!(member.walltime, Walltime { said: None, assumed: Some(Duration::from_secs(3600)) });
    for (key, value) in [
        ("a", "flag"),
        ("b", "file"),
        ("vk-cmd.io/site", "Local"),
        ("jiriaf.site", "Local"),
        ("vk-cmd.io/nodetype", "cpu"),
        ("jiriaf.nodetype", "cpu"),
        ("vk-cmd.io/fleet", "f"),
    ] {
        assert_eq!(member.labels.get(key).map(String::as_str), Some(value), "{key}");
    }
}

#[test]
fn an_address_is_listened_on_where_the_layer_says_that_names_it() {
    let flag = Settings {
        member: MemberSettings { address: Some("10.0.0.9".parse().unwrap()), ..MemberSettings::default() },
        ..Settings::default()
    };
    let variables = environment(&[("NODENAME", "vk-a"), ("VKUBELET_POD_IP", "172.17.0.1")]).unwrap();
    assert_eq!(finish(flag.over(variables)).members[0].listen_address, None);
}

#[test]
fn wrong_variables_are_told_at_once() {
    let settings = environment(&[("NODENAME", "vk-a"), ("JIRIAF_WALLTIME", "0"), ("JIRIAF_SITE", "")]).unwrap();
    let member = &finish(settings).members[0];
    assert_eq!((member.walltime.assumed, member.labels.len()), (Some(Duration::ZERO), 0));
    let wrong = environment(&[
        ("NODENAME", "vk"),
        ("KUBELET_PORT", "70000"),
        ("VKUBELET_POD_IP", "here"),
        ("JIRIAF_WALLTIME", "1h"),
        ("JIRIAF_SITE", "a b"),
    ]);
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.len(), 5, "{wrong:?}");
    assert!(wrong[0].contains("does not begin with \"vk-\""), "{wrong:?}");
}

#[test]
fn many_nodes_have_names_and_ports_in_a_row() {
    let config = finish(layer("version: 1\nnodes: {prefix: vk-gw-, count: 3}\nport: 20000\nlabels: {a: b}\n"));
    let all: Vec<(&str, u16)> = config.members.iter().map(|m| (m.name.as_str(), m.port)).collect();
    assert_eq!(all, [("vk-gw-0", 20000), ("vk-gw-1", 20001), ("vk-gw-2", 20002)]);
    let config = finish(layer(
        "version: 1\nport: 0\nlabels: {a: all, b: all}\nnodes:\n- {name: vk-a, port: 7, labels: {a: own}}\n- {name: vk-b}\n",
    ));
    assert_eq!((config.members[0].port, config.members[1].port), (7, 0));
    assert_eq!((&*config.members[0].labels["a"], &*config.members[0].labels["b"]), ("own", "all"));
}

#[test]
fn a_flag_names_the_node_over_a_file_that_names_many() {
    let flag = Settings { names: Some(Names::One(NodeName::parse("vk-one").unwrap())), ..Settings::default() };
    let config = finish(flag.over(layer("version: 1\nnodes: {prefix: vk-gw-, count: 3}\n")));
    assert_eq!(config.members.len(), 1);
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_line() {
    let text = r#"nodeNmae: vk-a
nodes: [{name: node-1}, {port: 70000}]
address: host.example
labels: {kubernetes.io/role: agent, "a b": c, d: "e f"}
registerWithTaints: [{key: a, effect: Never}, {key: b}]
capacity: {cpu: lots, pods: 3, gpu: 1, example.com/fpga: 2}
pressure: {memory.available: 10%, nodefs.available: 101%, memory.availble: 1}
nodeStatusUpdateFrequency: 10
nodeLeaseDurationSeconds: 1
kubernetesService: {port: 443}
pipe: {run: host, cgroup: mine}
images: [{command: [a]}, {match: "[", env: {"a=b": c}}]
"#;
    let found = problems(text);
    for (line, word) in [
        (1, "no version"),
        (1, "did you mean \"nodeName\"?"),
        (2, "does not begin with \"vk-\""),
        (2, "out of range"),
        (2, "it has no name"),
        (3, "no IP address"),
        (4, "no node may label itself kubernetes.io/role"),
        (4, "\"a b\" is no key"),
        (4, "\"e f\" is no value"),
        (5, "is none of NoSchedule"),
        (5, "needs key and effect"),
        (6, "\"lots\": it is no quantity"),
        (6, "said by maxPods"),
        (6, "\"gpu\" is no resource"),
        (7, "101% is no share"),
        (7, "has no key \"memory.availble\": did you mean \"memory.available\"?"),
        (8, "this is no time"),
        (9, "at least 10 seconds"),
        (10, "it has no host"),
        (11, "\"host\" is none of node, external"),
        (12, "it needs `match`"),
        (12, "is no pattern"),
        (12, "cannot name an environment variable"),
        (11, "neither `auto` nor `off`"),
    ] {
        let matches = |text: &&String| text.starts_with(&format!("line {line}:")) && text.contains(word);
        assert!(found.iter().any(|text| matches(&text)), "line {line}: {word}: {found:#?}");
    }
}

#[test]
fn what_is_wrong_about_the_end_is_told() {
    let found = problems(
        "version: 1\nnodeName: vk-a\nwalltimeMarginSeconds: 604801\nwalltimeCheckSeconds: 0\nwarningSignal: KILL@5\n\
         onTerm: never\nkillWaitSeconds: long\n",
    );
    for (line, word) in [
        (3, "0 to 604800 seconds"),
        (4, "1 to 604800 seconds"),
        (5, "is no warning signal"),
        (6, "is none of auto, keep, end"),
        (7, "killWaitSeconds"),
    ] {
        let matches = |text: &&String| text.starts_with(&format!("line {line}:")) && text.contains(word);
        assert!(found.iter().any(|text| matches(&text)), "line {line}: {word}: {found:#?}");
    }
}

#[test]
fn what_does_not_fit_together_is_told() {
    let wrong = |text: &str| layer(text).finish(None).unwrap_err().to_string();
    assert!(wrong("version: 1").contains("the node has no name"));
    assert!(wrong("version: 1").contains("no home directory"), "both at once");
    assert!(wrong("version: 1\npipe: {directory: p}\nnodes: [{name: vk-a}, {name: vk-a}]").contains("twice"));
    assert!(wrong("version: 1\npipe: {directory: p}\nnodes: {prefix: gw-, count: 1}").contains("\"vk-\""));
    let ports = "version: 1\npipe: {directory: p}\nport: 65535\nnodes: {prefix: vk-, count: 2}";
    assert!(wrong(ports).contains("vk-1 has no port"));
}

#[test]
fn behind_a_tunnel_a_node_is_at_the_far_end() {
    let config = finish(layer("version: 1\nnodes: {prefix: vk-, count: 2}\ntunnel: ssh:me@there\n"));
    let tunnel = config.tunnel.unwrap();
    assert_eq!((tunnel.to.to_string().as_str(), tunnel.program.to_str()), ("ssh:me@there", Some("ssh")));
    let loopback: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    for member in &config.members {
        assert_eq!((member.address, member.listen_address, member.port), (Some(loopback), Some(loopback), 0));
    }
    // What is said of a node stands.
    let config = finish(layer(
        "version: 1\nnodeName: vk-a\nport: 10250\naddress: 10.0.0.7\ntunnel: {to: ssh:there, bind: '*'}\n",
    ));
    let (member, far) = (&config.members[0], "10.0.0.7".parse().unwrap());
    assert_eq!((member.address, member.listen_address, member.port), (Some(far), Some(loopback), 10250));
    assert_eq!(config.tunnel.unwrap().bind_for(far), crate::tunnel::Bind::Every);
    let wrong = |text: &str| layer(text).finish(Some("/home/u".into())).unwrap_err().to_string();
    assert!(wrong("version: 1\nnodeName: vk-a\ntunnel: {to: ssh:there, bind: '*'}\n").contains("--address"));
    let flag = TunnelSettings { bind: Some(crate::tunnel::Bind::Every), ..TunnelSettings::default() };
    let nowhere = Settings { tunnel: flag, ..layer("version: 1\nnodeName: vk-a\n") };
    assert!(nowhere.finish(Some("/home/u".into())).unwrap_err().to_string().contains("leads nowhere"));
    let found = problems(
        "version: 1\ntunnel: {bind: here, apiServer: there, options: [ProxyJump, '-v'], configFile: '', port: 1}\n",
    );
    for word in [
        "it needs `to`",
        "\"here\" is nothing to listen on",
        "\"there\" is no server",
        "\"ProxyJump\" is no option",
        "\"-v\" is no option",
        "it is empty",
        "has no key \"port\"",
    ] {
        assert!(found.iter().any(|text| text.contains(word)), "{word}: {found:#?}");
    }
    assert!(problems("version: 1\ntunnel: me@there\n")[0].contains("ssh:USER@HOST"));
}

#[test]
fn the_documented_tunnel_is_right() {
    let text = include_str!("../../../../docs/how-to/tunnel.md");
    let yaml = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = finish(layer(yaml));
    assert_eq!(config.tunnel.unwrap().options, ["ProxyJump=login.example.org", "Compression=yes"]);
}

#[test]
fn configz_speaks_as_a_kubelet_does() {
    let config = finish(layer("version: 1\nnodeName: vk-a\nmaxPods: 7\nsystemReserved: {cpu: 500m, memory: 1Gi}\n"));
    let value = configz(&config, &config.members[0]);
    let kubelet = &value["kubeletconfig"];
    assert_eq!((&kubelet["maxPods"], &kubelet["nodeStatusUpdateFrequency"]), (&7.into(), &"10s".into()));
    assert_eq!(kubelet["systemReserved"]["cpu"], "500m");
    assert_eq!(kubelet["authentication"]["anonymous"]["enabled"], false);
    assert_eq!(value["vk-node"]["nodeName"], "vk-a");
}

#[test]
fn what_is_reserved_is_not_for_pods() {
    let all = Resources(BTreeMap::from([("cpu".into(), 2000), ("memory".into(), 1 << 20), ("a/b".into(), 3072)]));
    let reserved = Resources(BTreeMap::from([("cpu".into(), 500), ("memory".into(), 1 << 30)]));
    let left = all.without(&reserved).quantities();
    let left: Vec<_> = left.iter().map(|(name, quantity)| (name.as_str(), quantity.0.as_str())).collect();
    assert_eq!(left, [("a/b", "3072"), ("cpu", "1500m"), ("memory", "0")]);
}

proptest::proptest! {
    #[test]
    fn garbage_is_no_panic(text in "[ -~\n]{0,200}") {
        let _ = read(&text, Path::new("/"));
    }

    #[test]
    fn a_config_of_garbage_is_no_panic(
        key in "(nodes|labels|capacity|pressure|pipe|registerWithTaints|kubernetesService|port|nodeName)",
        value in "[ -~]{0,60}",
    ) {
        if let Ok(settings) = read(&format!("version: 1\n{key}: {value}\n"), Path::new("/")) {
            let _ = settings.finish(None);
        }
    }
}
