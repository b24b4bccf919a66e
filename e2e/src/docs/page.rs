//! A page of Markdown: the headings that links lead to, and what stands below them.

use std::collections::BTreeMap;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Its path in the repository.
    pub path: String,
    /// The anchors of its headings, as GitHub makes them.
    pub anchors: Vec<String>,
    /// Its blocks of code.
    pub blocks: Vec<Block>,
    /// Where its links lead, each with its line.
    pub links: Vec<(usize, String)>,
    /// Code in the middle of its sentences, each with its line.
    pub spans: Vec<(usize, String)>,
}

/// A block of code.
#[derive(Debug, Clone)]
pub struct Block {
    /// The anchor of the heading that it is below; empty above the first.
    pub section: String,
    /// What it is: `console`, `yaml`, `sh`.
    pub language: String,
    /// The line of its first line.
    pub line: usize,
    /// What stands in it.
    pub text: String,
}

/// A command of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The page's path in the repository.
    pub page: String,
    /// The anchor of the heading that it is below; empty above the first.
    pub section: String,
    /// Its line.
    pub line: usize,
    /// What is typed, which may be several lines.
    pub text: String,
    /// What the page shows of its output; empty if that is nothing.
    pub shown: String,
}

impl Page {
    /// Reads a page.
    #[allow(clippy::wildcard_enum_match_arm, reason = "what else Markdown has is nothing that is looked at")]
    pub fn parse(path: &str, text: &str) -> Self {
        let mut page = Self { path: path.to_owned(), ..Self::default() };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let (mut section, mut heading, mut block) = (String::new(), None::<String>, None::<Block>);
        let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            let line = 1 + text.get(..range.start).unwrap_or_default().matches('\n').count();
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    let times = seen.entry(slug.clone()).or_default();
                    section = if *times == 0 { slug } else { format!("{slug}-{times}") };
                    *times += 1;
                    page.anchors.push(section.clone());
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(info) => info.split_whitespace().next().unwrap_or_default().to_owned(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block { section: section.clone(), language, line: line + 1, text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line, dest_url.to_string()));
                }
                Event::Text(piece) => match (&mut block, &mut heading) {
                    (Some(block), _) => block.text.push_str(&piece),
                    (None, Some(heading)) => heading.push_str(&piece),
                    (None, None) => {}
                },
                Event::Code(piece) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&piece);
                    }
                    page.spans.push((line, piece.to_string()));
                }
                _ => {}
            }
        }
        page
    }

    /// Its commands, in its order.
    pub fn commands(&self) -> Vec<Command> {
        let consoles = self.blocks.iter().filter(|block| block.language == "console");
        consoles.flat_map(|block| self.commands_of(block)).collect()
    }

    /// The text of its first block that has these words.
    pub fn block(&self, words: &str) -> Option<&str> {
        self.blocks.iter().map(|block| block.text.as_str()).find(|text| text.contains(words))
    }

    /// A command begins with `$ `, goes on after `\` at the end of a line and in a here-document, and what follows is its output.
    fn commands_of(&self, block: &Block) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        let mut until: Option<Rest> = None;
        for (n, line) in block.text.lines().enumerate() {
            match (&until, commands.last_mut()) {
                (Some(rest), Some(command)) => {
                    command.text.push('\n');
                    command.text.push_str(line);
                    until = rest.after(line);
                }
                (_, last) => match (line.strip_prefix("$ "), last) {
                    (Some(text), _) => {
                        until = Rest::of(text);
                        commands.push(Command {
                            page: self.path.clone(),
                            section: block.section.clone(),
                            line: block.line + n,
                            text: text.to_owned(),
                            shown: String::new(),
                        });
                    }
                    (None, Some(command)) => {
                        command.shown.push_str(line);
                        command.shown.push('\n');
                    }
                    // Output of nothing: see `stray`.
                    (None, None) => {}
                },
            }
        }
        commands
    }
}

/// What of a command is still to come.
enum Rest {
    /// The next line.
    Line,
    /// All lines up to this one.
    Document(String),
}

impl Rest {
    fn of(text: &str) -> Option<Self> {
        if let Some((_, word)) = text.split_once("<<").filter(|(_, word)| !word.starts_with('<')) {
            let word: String = word.trim_start_matches('-').chars().take_while(|c| !c.is_whitespace()).collect();
            return Some(Self::Document(word.trim_matches(['\'', '"']).to_owned()));
        }
        text.ends_with('\\').then_some(Self::Line)
    }

    fn after(&self, line: &str) -> Option<Self> {
        match self {
            Self::Line => Self::of(line),
            Self::Document(word) => (line.trim() != word).then(|| Self::Document(word.clone())),
        }
    }
}

/// As GitHub makes it of a heading: small letters, no punctuation but `-` and `_`, and `-` for each space.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A `title`: one\n\nSee [x](y.md#z) and `vk-node run`.\n\n```console\n$ one \\\n    two\nout\n$ cat > f <<'E'\n$ x\nE\n```\n\n## A title one\n\n```yaml\na: 1\n```\n";

    #[test]
    fn commands_have_their_lines_and_what_is_shown() {
        let page = Page::parse("p.md", TEXT);
        assert_eq!(page.anchors, ["a-title-one", "a-title-one-1"]);
        assert_eq!(page.links, [(3, "y.md#z".to_owned())]);
        assert_eq!(page.spans.last(), Some(&(3, "vk-node run".to_owned())));
        let commands = page.commands();
        let seen: Vec<_> = commands.iter().map(|c| (c.line, c.text.as_str(), c.shown.as_str())).collect();
        assert_eq!(seen, [(6, "one \\\n    two", "out\n"), (9, "cat > f <<'E'\n$ x\nE", "")]);
        assert_eq!(commands[0].section, "a-title-one");
        assert_eq!(page.block("a: "), Some("a: 1\n"));
    }
}
