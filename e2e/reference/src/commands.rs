//! The commands of a program, as its own parser has them.

use clap::{Arg, ArgAction, Command};

use crate::{code, table};

/// Every command of a program that people are meant to know: what it does, its arguments and flags with their variables and defaults.
#[must_use]
pub fn commands(mut command: Command) -> String {
    command.build();
    let global: Vec<&Arg> = command.get_arguments().filter(|argument| argument.is_global_set()).collect();
    let mut text = String::new();
    if !global.is_empty() {
        text += &format!("Every command takes\n\n{}\n", arguments(&global));
    }
    let ids: Vec<_> = global.iter().map(|argument| argument.get_id().clone()).collect();
    let is_own = |argument: &&Arg| !ids.contains(argument.get_id());
    add(&command, command.get_name(), &is_own, &mut text);
    text
}

fn add(command: &Command, name: &str, is_own: &dyn Fn(&&Arg) -> bool, text: &mut String) {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        let name = format!("{name} {}", inner.get_name());
        let about = inner.get_long_about().or(inner.get_about()).map(ToString::to_string).unwrap_or_default();
        *text += &format!("### `{name}`\n\n{}\n\n", sentence(&about));
        let own: Vec<&Arg> = inner.get_arguments().filter(|argument| !argument.is_hide_set()).filter(is_own).collect();
        let own: Vec<&Arg> =
            own.into_iter().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version")).collect();
        if !own.is_empty() {
            *text += &arguments(&own);
            *text += "\n";
        }
        add(inner, &name, is_own, text);
    }
}

fn arguments(all: &[&Arg]) -> String {
    let rows = all.iter().map(|argument| {
        let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
        let default: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let default =
            if takes_value && !argument.is_hide_default_value_set() { default.join(" ") } else { String::new() };
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        [code(&shown(argument)), code(&variable), code(&default), sentence(&(help + &words(argument)))]
    });
    table(["flag", "variable", "default", "meaning"], rows)
}

/// `-w, --nodelist NODE`, or `[COMMAND]…` of one that is known by its place.
fn shown(argument: &Arg) -> String {
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let names =
        argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if argument.is_positional() {
        let many = argument.get_num_args().is_some_and(|range| range.max_values() > 1);
        return format!("{names}{}", if many { "…" } else { "" });
    }
    let short = argument.get_short().map(|letter| format!("-{letter}"));
    let long = argument.get_long().map(|name| format!("--{name}"));
    let mut text = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    if takes_value && !names.is_empty() {
        text += &format!(" {names}");
    }
    text
}

/// The values that there are, where there are few.
fn words(argument: &Arg) -> String {
    let words: Vec<_> = argument
        .get_possible_values()
        .iter()
        .filter(|word| !word.is_hide_set())
        .map(|word| code(word.get_name()))
        .collect();
    let is_told = argument.get_action().takes_values() && !words.is_empty() && words != ["`true`", "`false`"];
    if is_told { format!("; one of {}", words.join(", ")) } else { String::new() }
}

fn sentence(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('<', "\\<")
}
