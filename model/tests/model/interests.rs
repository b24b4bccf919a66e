//! To which CmdJobs it matters when another one or a node changes, as the operator's caches say.

use std::collections::BTreeMap;

use vk_cmd_crds::{CmdJob, Target, labels};
use vk_operator_core::pods::Owner;
use vk_operator_core::status;

use crate::api::{Key, key_of};

/// The jobs that are not finished.
#[derive(Default)]
pub(crate) struct Interests(BTreeMap<Key, (Owner, Vec<String>, Target)>);

impl Interests {
    pub(crate) fn put(&mut self, job: &CmdJob) -> Vec<Owner> {
        let key = key_of(&job.metadata);
        self.0.remove(&key);
        if job.status.as_ref().and_then(status::finished_at).is_none() {
            let uid = job.metadata.uid.clone().unwrap();
            let owner = Owner { namespace: key.0.clone(), name: key.1.clone(), uid };
            let after = job.spec.after.iter().flatten().map(|after| after.name.clone()).collect();
            self.0.insert(key.clone(), (owner, after, job.spec.target.clone()));
        }
        self.after(&key.0, &key.1)
    }

    pub(crate) fn remove(&mut self, namespace: &str, name: &str) -> Vec<Owner> {
        self.0.remove(&(namespace.to_owned(), name.to_owned()));
        self.after(namespace, name)
    }

    fn after(&self, namespace: &str, name: &str) -> Vec<Owner> {
        let waits = |(owner, after, _): &&(Owner, Vec<String>, Target)| {
            owner.namespace == namespace && after.iter().any(|on| on == name)
        };
        self.0.values().filter(waits).map(|(owner, ..)| owner.clone()).collect()
    }

    pub(crate) fn may_go(&self, name: &str, found: &BTreeMap<String, String>) -> Vec<Owner> {
        let may = |target: &Target| {
            target.node.as_deref() == Some(name)
                || target.fleet.as_ref().is_some_and(|fleet| found.get(labels::FLEET) == Some(fleet))
                || target.node_selector.as_ref().is_some_and(|all| all.iter().all(|(k, v)| found.get(k) == Some(v)))
        };
        self.0.values().filter(|(_, _, target)| may(target)).map(|(owner, ..)| owner.clone()).collect()
    }
}
