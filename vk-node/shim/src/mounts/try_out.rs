//! Whether tasks can have mounts of their own here: it is tried, with all that may come to it.

use std::path::{Path, PathBuf};

use vk_task::Bind;

use super::{Mounts, Sight};

/// What a kernel or its administrator may have said against it, where to read that, and what is to be read there.
const HINTS: [(&str, &str, &str); 3] = [
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "this host allows no user namespaces (user.max_user_namespaces is 0): an administrator can allow them",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "this host keeps user namespaces to administrators (kernel.unprivileged_userns_clone is 0): an administrator can \
         set it to 1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps user namespaces to programs with a profile (kernel.apparmor_restrict_unprivileged_userns is 1): an \
         administrator can give vk-node one with `userns,`",
    ),
];

/// Tries it, in this very process, which is of no other use after that. `spare` is a directory as
/// [`Mounts::spare`](super::Mounts) needs it.
pub(crate) fn try_out(spare: &Path) -> Result<(), String> {
    // Missing at the root, so that there is to be another; and read-only.
    let target = PathBuf::from("/.vk-cmd-tries-this");
    let bind = Bind { source: spare.to_owned(), sub_path: None, target, read_only: true };
    let sight = Sight::Own(Mounts { binds: vec![bind], spare: spare.to_owned(), home: PathBuf::from("/"), shut: None });
    sight.take_on().map_err(|why| explain(&why, |path| std::fs::read_to_string(path).ok()))
}

/// Adds what may be the reason.
fn explain(why: &str, read: impl Fn(&str) -> Option<String>) -> String {
    let is_so = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    match HINTS.iter().find(|(path, value, _)| is_so(path, value)) {
        Some((_, _, hint)) => format!("{why}; {hint}"),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_told_where_it_can_be_read() {
        let with = |file: &'static str, text: &'static str| move |path: &str| (path == file).then(|| text.to_owned());
        assert!(explain("no", with(HINTS[0].0, "0\n")).starts_with("no; this host allows no user namespaces"));
        assert!(explain("no", with(HINTS[2].0, "1\n")).contains("AppArmor"));
        assert_eq!(explain("no", with(HINTS[0].0, "100\n")), "no");
        assert_eq!(explain("no", |_| None), "no");
    }
}
