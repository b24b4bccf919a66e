//! The unit of the user's systemd that keeps a node running: `vk-node service`.

use std::path::Path;

/// Its name.
pub const UNIT: &str = "vk-node.service";

/// The first systemd that puts a service's own processes into a cgroup beneath the delegated one by itself.
const WITH_SUBGROUP: u32 = 254;

/// What goes into the unit.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The program, with an absolute path.
    pub program: &'a Path,
    /// The arguments of `vk-node run`.
    pub arguments: &'a [String],
    /// The version of systemd, if it is known.
    pub systemd: Option<u32>,
}

/// The unit's text.
///
/// # Errors
/// Why these words cannot stand in a unit.
pub fn unit(wanted: &Wanted<'_>) -> Result<String, String> {
    let program = wanted.program.to_str().ok_or("the program's path is no UTF-8 text: put it elsewhere")?;
    // Of the program's own path systemd expands nothing but its specifiers: systemd.service(5), "Command lines".
    let mut line = vec![quoted(program, false)?, "run".to_owned()];
    for argument in wanted.arguments {
        line.push(quoted(argument, true)?);
    }
    let subgroup = match wanted.systemd {
        Some(version) if version >= WITH_SUBGROUP => "DelegateSubgroup=pipe\n",
        // The pipe moves itself then.
        Some(_) | None => "",
    };
    Ok(format!(
        "# Written by `vk-node service`. What each line is for is in docs/how-to/site-admin.md.
[Unit]
Description=vk-node: this machine as a Kubernetes node
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={line}
# The node's file is read again: docs/how-to/site-admin.md says what of it.
ExecReload=/bin/kill -HUP $MAINPID
# At the end of its walltime, and when it is told to end, it ends with 0.
Restart=on-failure
RestartSec=5
# Jobs go on when the node is started anew.
KillMode=process
TimeoutStopSec=60
# Each job has a cgroup of its own.
Delegate=yes
{subgroup}
[Install]
WantedBy=default.target
",
        line = line.join(" ")
    ))
}

/// A word of a command line, for systemd: see "Command lines" in systemd.service(5), and "Quoting" in systemd.syntax(7).
fn quoted(word: &str, expands: bool) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Ok(word.to_owned());
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '%' => text.push_str("%%"),
            '$' if expands => text.push_str("$$"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => return Err(format!("{word:?} has characters that cannot stand in a unit")),
            c => text.push(c),
        }
    }
    text.push('"');
    Ok(text)
}

/// What else is to be done, in the order in which it is done.
#[must_use]
pub fn steps(is_installed: bool, lingers: Option<bool>) -> Vec<String> {
    let mut steps = Vec::new();
    if !is_installed {
        steps.push(format!("vk-node service --install    # or write it to ~/.config/systemd/user/{UNIT} yourself"));
    }
    steps.push("systemctl --user daemon-reload".to_owned());
    steps.push(format!("systemctl --user enable --now {UNIT}"));
    match lingers {
        Some(true) => {}
        Some(false) => steps.push(
            "loginctl enable-linger      # linger is off: without it the node and its jobs end with your last session. Where you may \
             not, ask an administrator, or run the node in a batch job"
                .to_owned(),
        ),
        None => steps.push(
            "loginctl enable-linger      # it cannot be told whether linger is on: there is no systemd of yours here".to_owned(),
        ),
    }
    steps.push(format!("journalctl --user --unit {UNIT} --follow"));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str], systemd: Option<u32>) -> String {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        unit(&Wanted { program: Path::new("/home/u/bin/vk-node"), arguments: &arguments, systemd }).unwrap()
    }

    #[test]
    fn words_come_through_systemd_as_they_are() {
        for (word, text) in [
            ("--config=/a/b.yaml", "--config=/a/b.yaml"),
            ("a b", "\"a b\""),
            ("50%", "\"50%%\""),
            ("$HOME", "\"$$HOME\""),
            ("say \"hi\"", "\"say \\\"hi\\\"\""),
            ("back\\slash", "\"back\\\\slash\""),
            ("", "\"\""),
            (";", "\";\""),
            ("é", "\"é\""),
        ] {
            assert!(of(&[word], None).contains(&format!("ExecStart=/home/u/bin/vk-node run {text}\n")), "{word}");
        }
        let with_bell = ["\u{7}".to_owned()];
        assert!(unit(&Wanted { program: Path::new("/x"), arguments: &with_bell, systemd: None }).is_err());
        let odd = unit(&Wanted { program: Path::new("/a b/$x/vk-node"), arguments: &[], systemd: None }).unwrap();
        assert!(odd.contains("ExecStart=\"/a b/$x/vk-node\" run\n"), "{odd}");
    }

    #[test]
    fn jobs_outlive_the_service_and_have_cgroups() {
        let text = of(&[], Some(252));
        for line in [
            "KillMode=process",
            "Delegate=yes",
            "Restart=on-failure",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "WantedBy=default.target",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
        assert!(!text.contains("DelegateSubgroup") && of(&[], Some(254)).contains("DelegateSubgroup=pipe"));
    }

    #[test]
    fn what_else_is_to_be_done_is_said() {
        let all = steps(false, Some(false)).join("\n");
        assert!(all.contains("--install") && all.contains("enable --now") && all.contains("linger is off"), "{all}");
        let all = steps(true, Some(true)).join("\n");
        assert!(!all.contains("--install") && !all.contains("linger"), "{all}");
        assert!(steps(true, None).join("\n").contains("cannot be told"));
    }
}
