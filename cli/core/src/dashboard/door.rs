//! Who may come in. The dashboard acts with the rights of whoever started it, on a machine that others may have accounts on: they reach
//! its port, and so does any page in the person's own browser.
//!
//! ```text
//!   /?token=… as it was printed ──▶ cookie, and on to / ──▶ every other request comes with the cookie
//!
//!   another account   ─ does not know the token            ─▶ 403
//!   another page      ─ has neither token nor cookie (SameSite)  ─▶ 403
//!   a name that another page has had point here (DNS rebinding): the Host is not ours ─▶ 403
//! ```

use subtle::ConstantTimeEq as _;

/// The name of the parameter that the printed address has.
pub const PARAMETER: &str = "token";

/// What whoever started the dashboard knows, and nobody else.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Of random bytes: 32, so that nobody guesses them.
    #[must_use]
    pub fn of(random: [u8; 32]) -> Self {
        Self(random.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The text that stands in the printed address.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// A request, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Knock<'a> {
    /// Its `Host`.
    pub host: Option<&'a str>,
    /// Its `Cookie`s.
    pub cookies: Option<&'a str>,
    /// The token of its address.
    pub token: Option<&'a str>,
    /// Whether it only reads: GET or HEAD.
    pub reads: bool,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is answered.
    In,
    /// It knows the token: it gets this cookie, and is sent on to an address without the token, so that it stands in no history.
    Welcome(String),
    /// It is not, and why.
    Out(&'static str),
}

/// Whether a request may come in.
#[must_use]
pub fn answer(knock: Knock<'_>, token: &Token, port: u16) -> Answer {
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
    if !knock.host.is_some_and(|host| ours.iter().any(|name| name == host)) {
        return Answer::Out("this is another host than the dashboard's: use the address that it has printed");
    }
    if !knock.reads {
        return Answer::Out("the dashboard only shows: change jobs with kubectl cmdjob");
    }
    let name = cookie_name(port);
    match knock.token {
        Some(given) if token.is(given) => {
            Answer::Welcome(format!("{name}={}; Path=/; HttpOnly; SameSite=Strict", token.reveal()))
        }
        Some(_) => Answer::Out("the token is not this dashboard's: use the address that it has printed"),
        None => {
            let given =
                knock.cookies.into_iter().flat_map(|all| all.split(';')).filter_map(|one| one.trim().split_once('='));
            match given.filter(|(key, _)| *key == name).any(|(_, value)| token.is(value)) {
                true => Answer::In,
                false => {
                    Answer::Out("this is somebody's dashboard: use the address that it has printed, with its token")
                }
            }
        }
    }
}

/// Cookies do not tell ports apart, and two dashboards are to.
fn cookie_name(port: u16) -> String {
    format!("cmdjob-dashboard-{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 4321;

    fn told(host: &str, cookies: Option<&str>, given: Option<&str>, reads: bool) -> Answer {
        let knock = Knock { host: Some(host), cookies, token: given, reads };
        answer(knock, &Token::of([7; 32]), PORT)
    }

    #[test]
    fn whoever_knows_the_token_comes_in() {
        let token = Token::of([7; 32]);
        let Answer::Welcome(cookie) = told("127.0.0.1:4321", None, Some(token.reveal()), true) else {
            panic!("no cookie")
        };
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
        let (cookie, _) = cookie.split_once(';').unwrap();
        assert_eq!(told("localhost:4321", Some(&format!("a=b; {cookie}; c=d")), None, true), Answer::In);
    }

    #[test]
    fn nobody_else_does() {
        let token = Token::of([7; 32]);
        let cookie = format!("{}={}", cookie_name(PORT), token.reveal());
        let wrong = format!("{}={}", cookie_name(PORT), Token::of([8; 32]).reveal());
        for (what, host, cookies, given, reads) in [
            ("without anything", "127.0.0.1:4321", None, None, true),
            ("with another token", "127.0.0.1:4321", None, Some("abc"), true),
            ("with none in the address", "127.0.0.1:4321", None, Some(""), true),
            ("with another cookie", "127.0.0.1:4321", Some(&*wrong), None, true),
            ("with the cookie of another port", "127.0.0.1:4321", Some("cmdjob-dashboard-1=x"), None, true),
            ("by another name", "evil.example:4321", Some(&*cookie), None, true),
            ("by another port", "127.0.0.1:4322", Some(&*cookie), None, true),
            ("to change something", "127.0.0.1:4321", Some(&*cookie), None, false),
        ] {
            assert!(matches!(told(host, cookies, given, reads), Answer::Out(_)), "{what}");
        }
        let knock = Knock { host: None, cookies: Some(&cookie), token: None, reads: true };
        assert!(matches!(answer(knock, &token, PORT), Answer::Out(_)));
    }
}
