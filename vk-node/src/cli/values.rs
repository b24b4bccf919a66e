//! Values of flags, from the texts that people write.

use vk_node_core::config::{self, Names};
use vk_node_core::ending::OnTerm;

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no label: write KEY=VALUE"))?;
    config::label_problem(key, value).map_or_else(|| Ok((key.to_owned(), value.to_owned())), Err)
}

pub(super) fn resource(text: &str) -> Result<(String, u64), String> {
    let wrong =
        || format!("{text:?} is no resource: write the name of an extended resource and how many, nvidia.com/gpu=4");
    let (name, count) = text.split_once('=').filter(|(name, _)| name.contains('/')).ok_or_else(wrong)?;
    Ok((name.to_owned(), count.parse().map_err(|_| wrong())?))
}

pub(super) fn on_term(text: &str) -> Result<OnTerm, String> {
    let known = OnTerm::WORDS.into_iter().find(|(word, _)| *word == text);
    known.map(|(_, meant)| meant).ok_or_else(|| format!("{text:?} is none of auto, keep, end"))
}

pub(super) fn numbered(text: &str) -> Result<Names, String> {
    let count = |(prefix, count): (&str, &str)| Some((prefix.to_owned(), count.parse().ok().filter(|n| *n > 0)?));
    let (prefix, count) = text.split_once('=').and_then(count).ok_or_else(|| {
        format!("{text:?} names no nodes: write what their names begin with, and how many there are, vk-gw-=20")
    })?;
    Ok(Names::Numbered { prefix, count })
}
