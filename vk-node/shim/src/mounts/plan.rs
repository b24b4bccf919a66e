//! What has to be laid over what, so that each source shows at its target. Pure: what is on the host comes in by [`Look`].
//!
//! ```text
//!   the target is there ───────────────────────────────▶ mounted over
//!   it is not; what is nearest above it is
//!     a volume that was mounted before ────────────────▶ made in it, as container runtimes do
//!     a directory in which the user may make things ───▶ made there, and left
//!     any other ───────────────────────────────────────▶ mirrored: an empty file system over it, in which all that was
//!                                                        there shows again, and in which the target can be made
//! ```
//!
//! A mirror is closed when all is made: what a program wrote into it would be lost. Root may make things everywhere, and
//! leaves nothing behind: its directories are mirrored too, but for its home and those where everybody makes things.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// So many links lead to a target at most, as in the kernel.
const MAX_LINKS: u32 = 40;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dir,
    /// Anything that is neither a directory nor a link.
    File,
    Link(PathBuf),
}

/// Whose path it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Of the host.
    Host(&'a Path),
    /// Beneath the source of this number.
    Source(usize, &'a Path),
}

/// Who may make things in a directory of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Makers {
    /// Others.
    Others,
    /// This user.
    User,
    /// This user, and everybody else: `/tmp`.
    Everybody,
}

/// The host as it is.
pub(super) trait Look {
    /// What is there; `None` when nothing is. A link is not followed.
    fn kind(&self, place: Place<'_>) -> Result<Option<Kind>, String>;
    /// Who may make things in this directory of the host.
    fn makers(&self, dir: &Path) -> Makers;
}

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its absolute path.
    pub(super) target: PathBuf,
    /// Whether its source is a directory.
    pub(super) is_dir: bool,
}

/// Who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) is_root: bool,
    pub(super) home: PathBuf,
}

/// One thing to do. Paths hold no links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Mirror this directory.
    Mirror(PathBuf),
    /// Make a directory.
    MakeDir(PathBuf),
    /// Make an empty file.
    MakeFile(PathBuf),
    /// Have the source of this number show here.
    Bind(usize, PathBuf),
}

/// A target that cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The number of its source.
    pub(super) which: usize,
    pub(super) why: String,
}

/// Decides what to do, in this order.
pub(super) fn plan(wanted: &[Wanted], user: &User, look: &impl Look) -> Result<Vec<Step>, Problem> {
    let mut order: Vec<(usize, &Wanted)> = wanted.iter().enumerate().collect();
    // What is mounted beneath another comes after it.
    order.sort_by_key(|(_, wanted)| wanted.target.components().count());
    let mut view = View { look, made: BTreeSet::new(), bound: BTreeMap::new() };
    let (mut mirrors, mut steps): (Vec<PathBuf>, _) = (Vec::new(), Vec::new());
    for (which, Wanted { target, is_dir }) in order {
        let failed = |why| Problem { which, why };
        let Found { at, missing } = view.resolve(target).map_err(failed)?;
        if missing.is_empty() {
            view.check_kind(&at, *is_dir).map_err(failed)?;
            view.bound.insert(at.clone(), (which, *is_dir));
            steps.push(Step::Bind(which, at));
            continue;
        }
        if view.source_at(&at).is_none() && !view.made.contains(&at) && !mirrors.contains(&at) {
            let makes = match look.makers(&at) {
                Makers::Everybody => true,
                Makers::User => !user.is_root || at.starts_with(&user.home) && user.home != Path::new("/"),
                Makers::Others => false,
            };
            if !makes {
                mirrors.push(at.clone());
            }
        }
        let mut path = at;
        for (n, name) in missing.iter().enumerate() {
            path.push(name);
            if n + 1 < missing.len() || *is_dir {
                view.made.insert(path.clone());
                steps.push(Step::MakeDir(path.clone()));
            } else {
                steps.push(Step::MakeFile(path.clone()));
            }
        }
        view.bound.insert(path.clone(), (which, *is_dir));
        steps.push(Step::Bind(which, path));
    }
    // A mirror shows again what has been mounted beneath it, so it could come at any time. But that of the root is another
    // root, so it comes first, and the outer before the inner.
    mirrors.sort();
    Ok(mirrors.into_iter().map(Step::Mirror).chain(steps).collect())
}

/// Where a target is: beneath what is there, and what of it is not.
struct Found {
    at: PathBuf,
    missing: Vec<OsString>,
}

/// The host as it is with what has been planned.
struct View<'a, L> {
    look: &'a L,
    made: BTreeSet<PathBuf>,
    bound: BTreeMap<PathBuf, (usize, bool)>,
}

impl<L: Look> View<'_, L> {
    /// The source that shows at `path`: its number, and the path in it.
    fn source_at<'p>(&self, path: &'p Path) -> Option<(usize, bool, &'p Path)> {
        let above = path.ancestors().find_map(|above| Some((above, self.bound.get(above)?)));
        let (above, (which, is_dir)) = above?;
        Some((*which, *is_dir, path.strip_prefix(above).ok()?))
    }

    fn kind(&self, path: &Path) -> Result<Option<Kind>, String> {
        match self.source_at(path) {
            Some((_, is_dir, inner)) if inner.as_os_str().is_empty() => {
                return Ok(Some(if is_dir { Kind::Dir } else { Kind::File }));
            }
            // What was made after it was mounted is in it.
            Some((which, _, inner)) if !self.made.contains(path) => return self.look.kind(Place::Source(which, inner)),
            _ => {}
        }
        if self.made.contains(path) {
            return Ok(Some(Kind::Dir));
        }
        self.look.kind(Place::Host(path))
    }

    /// Follows the links in `target`, as far as it is there.
    fn resolve(&self, target: &Path) -> Result<Found, String> {
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        let mut rest: VecDeque<OsString> = target.iter().map(OsStr::to_owned).collect();
        while let Some(part) = rest.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::RootDir) => at = PathBuf::from("/"),
                Some(Component::ParentDir) => {
                    at.pop();
                }
                Some(Component::Normal(name)) => {
                    let next = at.join(name);
                    match self.kind(&next)? {
                        Some(Kind::Link(to)) => {
                            links += 1;
                            if links > MAX_LINKS {
                                return Err(format!("too many links lead to {}", target.display()));
                            }
                            to.iter().rev().for_each(|part| rest.push_front(part.to_owned()));
                        }
                        Some(Kind::File) if !rest.is_empty() => {
                            return Err(format!("{} is not a directory", next.display()));
                        }
                        Some(Kind::File | Kind::Dir) => at = next,
                        None => {
                            let missing: Vec<OsString> = [part].into_iter().chain(rest).collect();
                            let is_name = |part: &OsString| !matches!(part.to_str(), Some("/" | "." | ".."));
                            if !missing.iter().all(is_name) {
                                return Err(format!(
                                    "a link on the way leads through {}, which is not there",
                                    next.display()
                                ));
                            }
                            return Ok(Found { at, missing });
                        }
                    }
                }
                Some(Component::CurDir | Component::Prefix(_)) | None => {}
            }
        }
        Ok(Found { at, missing: Vec::new() })
    }

    fn check_kind(&self, at: &Path, is_dir: bool) -> Result<(), String> {
        if at == Path::new("/") {
            return Err("it leads to /, over which nothing can be mounted".to_owned());
        }
        match (self.kind(at)?, is_dir) {
            (Some(Kind::File), true) => Err(format!("{} is a file, and the source is a directory", at.display())),
            (Some(Kind::Dir), false) => Err(format!("{} is a directory, and the source is a file", at.display())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Host {
        paths: BTreeMap<PathBuf, Kind>,
        sources: BTreeMap<(usize, PathBuf), Kind>,
        makers: BTreeMap<PathBuf, Makers>,
    }

    impl Look for Host {
        fn kind(&self, place: Place<'_>) -> Result<Option<Kind>, String> {
            Ok(match place {
                Place::Host(path) => self.paths.get(path).cloned(),
                Place::Source(which, path) => self.sources.get(&(which, path.to_owned())).cloned(),
            })
        }

        fn makers(&self, dir: &Path) -> Makers {
            self.makers.get(dir).copied().unwrap_or(Makers::Others)
        }
    }

    fn host() -> Host {
        let dirs = ["/", "/etc", "/run", "/var", "/home", "/home/u", "/tmp", "/usr", "/usr/share"];
        let mut paths: BTreeMap<PathBuf, Kind> = dirs.map(|dir| (dir.into(), Kind::Dir)).into();
        paths.insert("/etc/passwd".into(), Kind::File);
        for (at, to) in
            [("/var/run", "/run"), ("/etc/localtime", "../usr/share/zone"), ("/loop", "loop"), ("/out", "..")]
        {
            paths.insert(at.into(), Kind::Link(to.into()));
        }
        paths.insert("/broken".into(), Kind::Link("/none/../etc".into()));
        let makers = [("/home/u".into(), Makers::User), ("/tmp".into(), Makers::Everybody)].into();
        Host { paths, sources: BTreeMap::new(), makers }
    }

    fn wanted(targets: &[&str]) -> Vec<Wanted> {
        // A name that ends so is that of a file.
        targets.iter().map(|t| Wanted { target: t.into(), is_dir: !t.ends_with(".txt") }).collect()
    }

    fn steps_of(host: &Host, targets: &[&str], is_root: bool) -> Vec<String> {
        let user = User { is_root, home: "/home/u".into() };
        match plan(&wanted(targets), &user, host) {
            Ok(steps) => steps
                .into_iter()
                .map(|step| match step {
                    Step::Mirror(path) => format!("mirror {}", path.display()),
                    Step::MakeDir(path) => format!("dir {}", path.display()),
                    Step::MakeFile(path) => format!("file {}", path.display()),
                    Step::Bind(which, path) => format!("{which} at {}", path.display()),
                })
                .collect(),
            Err(Problem { which, why }) => vec![format!("{which}: {why}")],
        }
    }

    fn steps(targets: &[&str]) -> Vec<String> {
        steps_of(&host(), targets, false)
    }

    #[test]
    fn what_is_there_is_mounted_over() {
        assert_eq!(steps(&["/etc", "/home/u"]), ["0 at /etc", "1 at /home/u"]);
        let mut host = host();
        host.paths.insert("/a.txt".into(), Kind::File);
        assert_eq!(steps_of(&host, &["/a.txt"], false), ["0 at /a.txt"]);
        assert_eq!(steps(&["/etc/passwd"]), ["0: /etc/passwd is a file, and the source is a directory"]);
        host.paths.insert("/d.txt".into(), Kind::Dir);
        assert_eq!(steps_of(&host, &["/d.txt"], false), ["0: /d.txt is a directory, and the source is a file"]);
    }

    #[test]
    fn what_is_missing_is_made_in_a_mirror_and_mirrors_are_shared() {
        assert_eq!(steps(&["/data"]), ["mirror /", "dir /data", "0 at /data"]);
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        let expected = [
            "mirror /",
            "mirror /etc",
            "mirror /run",
            "dir /data",
            "3 at /data",
            "dir /etc/x",
            "file /etc/x/y.txt",
            "1 at /etc/x/y.txt",
            "dir /etc/x/z",
            "2 at /etc/x/z",
            "dir /run/secrets",
            "dir /run/secrets/kubernetes.io",
            "dir /run/secrets/kubernetes.io/serviceaccount",
            "0 at /run/secrets/kubernetes.io/serviceaccount",
        ];
        assert_eq!(steps(&[account, "/etc/x/y.txt", "/etc/x/z", "/data"]), expected);
    }

    #[test]
    fn where_the_user_makes_things_it_is_made() {
        assert_eq!(
            steps(&["/home/u/in", "/tmp/in"]),
            ["dir /tmp/in", "1 at /tmp/in", "dir /home/u/in", "0 at /home/u/in"]
        );
        // Root may everywhere, and makes nothing of its own accord but at home.
        let mut host = host();
        host.makers.insert("/etc".into(), Makers::User);
        assert_eq!(steps_of(&host, &["/etc/x"], true)[0], "mirror /etc");
        assert_eq!(steps_of(&host, &["/home/u/x"], true)[0], "dir /home/u/x");
        assert_eq!(steps_of(&host, &["/tmp/x"], true)[0], "dir /tmp/x");
    }

    #[test]
    fn one_beneath_another_is_found_in_it() {
        let mut host = host();
        host.sources.insert((1, "sub".into()), Kind::Dir);
        host.sources.insert((1, "up".into()), Kind::Link("/etc".into()));
        assert_eq!(
            steps_of(&host, &["/etc/sub/deep", "/etc", "/etc/other", "/etc/up/in.txt"], false),
            [
                "1 at /etc",
                "dir /etc/other",
                "2 at /etc/other",
                "dir /etc/sub/deep",
                "0 at /etc/sub/deep",
                "file /etc/in.txt",
                "3 at /etc/in.txt"
            ]
        );
    }

    #[test]
    fn links_lead_on_or_nowhere() {
        assert_eq!(steps(&["/etc/localtime"]), ["mirror /usr/share", "dir /usr/share/zone", "0 at /usr/share/zone"]);
        assert_eq!(steps(&["/loop/x"]), ["0: too many links lead to /loop/x"]);
        assert_eq!(steps(&["/out"]), ["0: it leads to /, over which nothing can be mounted"]);
        assert_eq!(steps(&["/broken"]), ["0: a link on the way leads through /none, which is not there"]);
        assert_eq!(steps(&["/etc/passwd/x"]), ["0: /etc/passwd is not a directory"]);
    }
}
