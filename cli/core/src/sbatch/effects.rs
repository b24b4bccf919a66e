//! What the values of sbatch's options do to a wish.

use std::collections::BTreeMap;

use vk_cmd_crds::labels;

use super::table::{TASKS, WHOLE};
use crate::values;
use crate::wish::{Memory, Wish};

pub(super) fn array(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.array = Some(values::array(value)?);
    Ok(())
}

pub(super) fn directory(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.directory = Some(value.to_owned());
    Ok(())
}

pub(super) fn comment(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.comment = Some(value.to_owned());
    Ok(())
}

pub(super) fn constraint(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.place.labels.extend(constraints(value)?);
    Ok(())
}

/// Labels: `KEY=VALUE`, or a word for the kind of the node, with `&` or `,` between several.
///
/// # Errors
/// What to write.
pub(crate) fn constraints(value: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = |why: &str| {
        format!(
            "{value:?} {why}: write KEY=VALUE, or a word for the label {}, with & between several",
            labels::NODE_KIND
        )
    };
    if value.contains(['|', '*', '(', '[']) {
        return Err(wrong("asks for one of several, or for counts, which labels cannot say"));
    }
    let mut all = BTreeMap::new();
    for part in value.split(['&', ',']) {
        let (key, label) = part.split_once('=').unwrap_or((labels::NODE_KIND, part));
        if key.is_empty() || label.is_empty() {
            return Err(wrong("has an empty part"));
        }
        all.insert(key.to_owned(), label.to_owned());
    }
    Ok(all)
}

pub(super) fn image(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.image = Some(value.to_owned());
    Ok(())
}

pub(super) fn only_nothing(_: &mut Wish, value: &str) -> Result<(), String> {
    if value == "0" { Ok(()) } else { Err(WHOLE.to_owned()) }
}

pub(super) fn one(_: &mut Wish, value: &str) -> Result<(), String> {
    if matches!(value, "1" | "1-1") { Ok(()) } else { Err(TASKS.to_owned()) }
}

pub(super) fn cpus(wish: &mut Wish, value: &str) -> Result<(), String> {
    let count: u32 = values::whole(value)?;
    wish.cpus = Some(count.to_string());
    Ok(())
}

pub(super) fn dependency(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.after = Some(values::dependency(value)?);
    Ok(())
}

pub(super) fn export(wish: &mut Wish, value: &str) -> Result<(), String> {
    for part in value.split(',') {
        match part {
            "NONE" | "NIL" => {}
            "ALL" => {
                return Err("the node has an environment of its own: name the variables that it shall have from here (--export=NAME,OTHER=VALUE)".to_owned());
            }
            part => wish.env.push(values::variable(part)?),
        }
    }
    Ok(())
}

pub(super) fn gpus(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.gpus = Some(values::gpus(value)?);
    Ok(())
}

pub(super) fn gres(wish: &mut Wish, value: &str) -> Result<(), String> {
    match value {
        "none" => Ok(()),
        value if value.contains(',') || !(value == "gpu" || value.starts_with("gpu:")) => {
            Err("of generic resources there are graphics processors (gpu:N): for another use `#CMDJOB --resource example.com/name=N`".to_owned())
        }
        value => gpus(wish, value),
    }
}

pub(super) fn hold(wish: &mut Wish, _: &str) -> Result<(), String> {
    wish.hold = Some(true);
    Ok(())
}

pub(super) fn job_name(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.base = Some(value.to_owned());
    Ok(())
}

pub(super) fn kill(_: &mut Wish, value: &str) -> Result<(), String> {
    if value == "yes" { Ok(()) } else { Err("a job whose dependency cannot be met any more has failed".to_owned()) }
}

pub(super) fn licences(wish: &mut Wish, value: &str) -> Result<(), String> {
    for part in value.split(',') {
        let (name, count) = part.rsplit_once(':').unwrap_or((part, "1"));
        if !name.contains('/') || count.parse::<u32>().is_err() {
            return Err("what a node counts has a name with a domain: write example.com/licence:3".to_owned());
        }
        wish.resources.insert(name.to_owned(), count.to_owned());
    }
    Ok(())
}

pub(super) fn memory(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.memory = Some(Memory::Whole(values::memory(value)?));
    Ok(())
}

pub(super) fn memory_per_cpu(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.memory = Some(Memory::PerCpu(values::memory(value)?));
    Ok(())
}

pub(super) fn nice(wish: &mut Wish, value: &str) -> Result<(), String> {
    let lower: i32 = values::whole(value)?;
    wish.priority = Some(within(0_i32.saturating_sub(lower))?);
    Ok(())
}

pub(super) fn priority(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.priority = Some(within(values::whole(value)?)?);
    Ok(())
}

fn within(priority: i32) -> Result<i32, String> {
    let is_within = (-1000..=1000).contains(&priority);
    if is_within { Ok(priority) } else { Err("priorities are from -1000 to 1000".to_owned()) }
}

pub(super) fn node(wish: &mut Wish, value: &str) -> Result<(), String> {
    if value.contains([',', '[']) {
        return Err("a CmdJob runs on one node: name one, or a fleet by --partition".to_owned());
    }
    wish.place.node = Some(value.to_owned());
    Ok(())
}

pub(super) fn fleet(wish: &mut Wish, value: &str) -> Result<(), String> {
    if value.contains(',') {
        return Err("a CmdJob goes to one fleet: name one, or labels by --constraint".to_owned());
    }
    wish.place.fleet = Some(value.to_owned());
    Ok(())
}

pub(super) fn requeue(wish: &mut Wish, _: &str) -> Result<(), String> {
    wish.requeue = Some(true);
    Ok(())
}

pub(super) fn no_requeue(wish: &mut Wish, _: &str) -> Result<(), String> {
    wish.requeue = Some(false);
    Ok(())
}

pub(super) fn warning(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.warning = Some(values::warning(value)?);
    Ok(())
}

pub(super) fn time(wish: &mut Wish, value: &str) -> Result<(), String> {
    wish.walltime = Some(values::time(value)?);
    Ok(())
}

pub(super) fn wait(wish: &mut Wish, _: &str) -> Result<(), String> {
    wish.wait = true;
    Ok(())
}
