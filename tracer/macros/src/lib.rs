//! `#[traced]`: a whole function as a span.
//!
//! The attribute puts one statement at the beginning of the function's body and touches nothing else, so
//! it needs to understand no more of Rust than where a function's name and body are.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// Records when the function begins and ends, also when it returns early or panics.
///
/// | written | what |
/// |---|---|
/// | `#[traced]` | always there: for what runs once for a batch, or less often |
/// | `#[traced(fine)]` | there with the feature `trace-fine` of `tracer` alone: for what runs for each frame |
/// | `#[traced(quiet)]` | leaves no record if nothing was recorded in it: for what looks for work |
/// | `#[traced(bytes = len)]` | with an argument: a name, and an expression of the parameters |
/// | `#[traced(GUEST)]` | with a category of `tracer::format::category` |
///
/// They can be combined, in this order: `#[traced(fine, quiet, GUEST, bytes = len)]`.
///
/// ```
/// # use tracer::traced;
/// #[traced(bytes = bytes.len())]
/// fn checksum(bytes: &[u8]) -> u32 {
///     bytes.iter().map(|&b| u32::from(b)).sum()
/// }
/// # assert_eq!(checksum(&[1, 2]), 3);
/// ```
///
/// A function that the compiler may run by itself, and one that is not done when it returns, cannot be
/// timed:
///
/// ```compile_fail
/// # use tracer::traced;
/// #[traced]
/// const fn one() -> u32 {
///     1
/// }
/// ```
///
/// ```compile_fail
/// # use tracer::traced;
/// #[traced]
/// async fn later() {}
/// ```
#[proc_macro_attribute]
pub fn traced(how: TokenStream, function: TokenStream) -> TokenStream {
    match traced_function(how, function) {
        Ok(function) => function,
        Err(Refusal(at, why)) => complaint(at, why),
    }
}

/// Why an attribute cannot be where it is, and where that is.
struct Refusal(Span, &'static str);

fn traced_function(how: TokenStream, function: TokenStream) -> Result<TokenStream, Refusal> {
    let mut tokens: Vec<TokenTree> = function.into_iter().collect();
    let name = name(&tokens)?;
    let (macro_name, rest) = options(how)?;
    let Some(TokenTree::Group(body)) = tokens.pop().filter(is_body) else {
        return Err(Refusal(name.span(), "#[traced] is for functions with a body"));
    };
    let mut inside = statement(macro_name, &name, rest);
    inside.extend(body.stream());
    let mut traced = Group::new(Delimiter::Brace, inside);
    traced.set_span(body.span());
    tokens.push(traced.into());
    Ok(tokens.into_iter().collect())
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == word)
}

/// The function's name: what stands behind the first `fn` that is not inside of anything.
fn name(tokens: &[TokenTree]) -> Result<Ident, Refusal> {
    let at = tokens.iter().position(|token| is_word(token, "fn"));
    let before = &tokens[..at.unwrap_or(tokens.len())];
    for word in ["const", "async"] {
        if let Some(token) = before.iter().find(|token| is_word(token, word)) {
            return Err(Refusal(token.span(), "#[traced] cannot time a const or async function"));
        }
    }
    match at.and_then(|at| tokens.get(at + 1)) {
        Some(TokenTree::Ident(name)) => Ok(name.clone()),
        _ => Err(Refusal(Span::call_site(), "#[traced] is for functions")),
    }
}

/// Which macro makes the span, and what is left for it.
fn options(how: TokenStream) -> Result<(&'static str, TokenStream), Refusal> {
    let mut tokens: VecDeque<TokenTree> = how.into_iter().collect();
    let fine = take_word(&mut tokens, "fine")?;
    let quiet = take_word(&mut tokens, "quiet")?;
    let macro_name = match (fine, quiet) {
        (false, false) => "span",
        (false, true) => "quiet_span",
        (true, false) => "fine_span",
        (true, true) => "fine_quiet_span",
    };
    Ok((macro_name, tokens.into_iter().collect()))
}

/// Takes `word` and the comma behind it, if they come next.
fn take_word(tokens: &mut VecDeque<TokenTree>, word: &str) -> Result<bool, Refusal> {
    if !tokens.front().is_some_and(|token| is_word(token, word)) {
        return Ok(false);
    }
    tokens.pop_front();
    match tokens.pop_front() {
        None => Ok(true),
        Some(TokenTree::Punct(comma)) if comma.as_char() == ',' => Ok(true),
        Some(other) => Err(Refusal(other.span(), "#[traced]: a comma is expected here")),
    }
}

/// `let _traced = ::tracer::MACRO!([CATEGORY,] "NAME" [, ARGUMENT = VALUE]);`
fn statement(macro_name: &str, name: &Ident, rest: TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    let word = |word: &str| TokenTree::from(Ident::new(word, site));
    let punct = |c, spacing| TokenTree::from(Punct::new(c, spacing));
    let path = || [punct(':', Spacing::Joint), punct(':', Spacing::Alone)];
    let comma = || punct(',', Spacing::Alone);

    let mut rest: Vec<TokenTree> = rest.into_iter().collect();
    let mut inside = Vec::new();
    // A category is the one word that nothing is said to equal.
    if let (Some(TokenTree::Ident(category)), None | Some(TokenTree::Punct(_))) =
        (rest.first(), rest.get(1))
        && category.to_string().chars().all(|c| c.is_ascii_uppercase() || c == '_')
    {
        inside.extend(rest.drain(..1));
        inside.push(comma());
        if !rest.is_empty() {
            drop(rest.drain(..1));
        }
    }
    inside.push(Literal::string(&name.to_string()).into());
    if !rest.is_empty() {
        inside.push(comma());
        inside.extend(rest);
    }
    let mut tokens = vec![word("let"), word("_traced"), punct('=', Spacing::Alone)];
    tokens.extend(path());
    tokens.push(word("tracer"));
    tokens.extend(path());
    tokens.extend([word(macro_name), punct('!', Spacing::Alone)]);
    tokens.push(Group::new(Delimiter::Parenthesis, inside.into_iter().collect()).into());
    tokens.push(punct(';', Spacing::Alone));
    tokens.into_iter().collect()
}

/// `compile_error!("WHY");` at `span`.
fn complaint(span: Span, why: &str) -> TokenStream {
    let why: TokenTree = Literal::string(why).into();
    let mut tokens: Vec<TokenTree> = vec![
        Ident::new("compile_error", span).into(),
        Punct::new('!', Spacing::Alone).into(),
        Group::new(Delimiter::Parenthesis, why.into()).into(),
        Punct::new(';', Spacing::Alone).into(),
    ];
    tokens.iter_mut().for_each(|token| token.set_span(span));
    tokens.into_iter().collect()
}
