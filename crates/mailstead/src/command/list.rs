use std::path::Path;

use anyhow::{Context as _, bail};
use mail_directory::{Directory, List, Posting};
use mail_types::{Address, AddressPattern};
use serde_json::json;

use super::operator::open_directory;
use crate::cli::ListCommand;
use crate::output::{self, UsageError};

pub(super) fn run(config: &Path, command: ListCommand) -> anyhow::Result<()> {
    let directory = open_directory(config)?;
    match command {
        ListCommand::Add { list, members, owner, post } => add(&directory, &list, &members, owner, post),
        ListCommand::Set { list, owner, post, allow } => set(&directory, &list, owner, post, &allow),
        ListCommand::List(arguments) => show(&directory.lists()?, arguments.json),
        ListCommand::Remove { list, members } => {
            if members.is_empty() {
                directory.remove_list(&list)?;
                return Ok(output::line(&format!("removed {list}"))?);
            }
            directory.remove_members(&list, &members)?;
            Ok(output::line(&line(&found(&directory, &list)?))?)
        }
    }
}

fn add(
    directory: &Directory,
    list: &Address,
    members: &[Address],
    owner: Option<Address>,
    post: Option<Posting>,
) -> anyhow::Result<()> {
    match (directory.list(list)?, owner) {
        (Some(_), None) if post.is_none() => {}
        (Some(_), _) => bail!("{list} exists already: `mailstead list set {list}` changes it"),
        (None, None) => return Err(UsageError(format!("say who looks after {list}: --owner ADDRESS")).into()),
        (None, Some(owner)) => directory.add_list(list, &owner, post.unwrap_or(Posting::Members))?,
    }
    directory.add_members(list, members)?;
    Ok(output::line(&line(&found(directory, list)?))?)
}

fn set(
    directory: &Directory,
    list: &Address,
    owner: Option<Address>,
    post: Option<Posting>,
    allow: &[String],
) -> anyhow::Result<()> {
    let before = found(directory, list)?;
    let posters = match allow {
        [] => None,
        [none] if none == "none" => Some(Vec::new()),
        some => Some(some.iter().map(|text| pattern(text)).collect::<Result<Vec<_>, _>>()?),
    };
    directory.change_list(list, &owner.unwrap_or(before.owner), post.unwrap_or(before.posting))?;
    if let Some(posters) = posters {
        directory.set_posters(list, &posters)?;
    }
    Ok(output::line(&line(&found(directory, list)?))?)
}

fn pattern(text: &str) -> Result<AddressPattern, UsageError> {
    text.parse().map_err(|error| UsageError(format!("{text}: {error}")))
}

fn found(directory: &Directory, list: &Address) -> anyhow::Result<List> {
    directory.list(list)?.with_context(|| format!("{list} is no list: `mailstead list list` shows them"))
}

fn line(List { address, owner, posting, posters, members }: &List) -> String {
    let posters = if posters.is_empty() { String::new() } else { format!(" and {}", joined(posters)) };
    let members = if members.is_empty() { "nobody yet".to_owned() } else { joined(members) };
    format!("{address} (owner {owner}, post {}{posters}) -> {members}", posting.as_str())
}

fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn show(lists: &[List], json: bool) -> anyhow::Result<()> {
    if !json {
        return lists.iter().try_for_each(|list| Ok(output::line(&line(list))?));
    }
    let lists = lists.iter().map(|List { address, owner, posting, posters, members }| {
        json!({
            "list": address.to_string(),
            "owner": owner.to_string(),
            "post": posting.as_str(),
            "allow": posters.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "members": members.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    output::json(&lists.collect::<Vec<_>>())
}
