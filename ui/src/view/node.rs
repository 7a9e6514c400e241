//! Elements as plain values, put into the document by Leptos' renderer.
//!
//! The page does not use the `view!` macro. It gives every element a type of its own, and each type its own code to build,
//! compare, move and remove it: with this page's tables that was 340 KB of gzipped WebAssembly. A [`Node`] is one type, so
//! all of that exists once. What is kept of Leptos is what matters: signals, owners, and effects that run again when a
//! signal they read has changed.
//!
//! A [`live`] part is compared with what it was, and only texts and attributes that differ are touched. Texts are text
//! nodes and attributes are attributes; nothing is ever parsed as markup.
//!
//! Others change the document too: a translation, or an extension of the browser, puts elements of its own in the place of
//! texts. A text that is found to be gone when it changes is put back, and what took its place is removed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use leptos::prelude::{GetUntracked, Owner, RenderEffect, RwSignal, Set, StoredValue, untrack};
use leptos::tachys::view::{Mountable, Render};
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{Document, Element, Event};

/// Words that are written here, or made.
pub type Words = Cow<'static, str>;

/// A piece of the page.
#[allow(missing_debug_implementations, reason = "it holds closures")]
pub enum Node {
    /// Text, never markup.
    Text(Words),
    /// An element.
    Element(El),
    /// Several pieces, or none.
    Many(Vec<Self>),
    /// A piece that is made again when a signal that it read has changed.
    Live(Box<dyn Make>),
    /// Elements that stay themselves while their order changes.
    Each(Box<dyn List>),
}

/// One element of a [`Node::Each`]: what it is known by, and how it is made when it is new.
#[allow(missing_debug_implementations, reason = "it holds a closure")]
pub struct Item {
    key: String,
    make: Box<dyn FnOnce() -> El>,
}

/// An element that is not in the document yet. It is one pointer, because it is handed on at every step of its making.
#[allow(missing_debug_implementations, reason = "it holds closures")]
pub struct El(Box<Making>);

/// What is done with an element once it exists.
type WhenBuilt = Box<dyn FnOnce(&Element)>;

struct Making {
    tag: &'static str,
    svg: bool,
    fixed: Vec<(&'static str, Words)>,
    live: Vec<(&'static str, Box<dyn Say>)>,
    listeners: Vec<(&'static str, Box<dyn Act>)>,
    built: Option<WhenBuilt>,
    gone: Option<Box<dyn FnOnce()>>,
    children: Vec<Node>,
}

// What closures do, as traits of our own: `dyn FnMut` would bring along every closure's `FnOnce`, which nobody calls.

/// Makes a piece.
pub trait Make {
    /// The piece, now.
    fn make(&mut self) -> Node;
}

impl<N: Into<Node>, F: FnMut() -> N> Make for F {
    fn make(&mut self) -> Node {
        self().into()
    }
}

/// Lists elements.
pub trait List {
    /// The elements, now.
    fn list(&mut self) -> Vec<Item>;
}

impl<F: FnMut() -> Vec<Item>> List for F {
    fn list(&mut self) -> Vec<Item> {
        self()
    }
}

/// Says what an attribute is.
trait Say {
    fn say(&mut self) -> String;
}

impl<F: FnMut() -> String> Say for F {
    fn say(&mut self) -> String {
        self()
    }
}

/// Does something about an event.
trait Act {
    fn act(&mut self, event: Event);
}

impl<F: FnMut(Event)> Act for F {
    fn act(&mut self, event: Event) {
        self(event);
    }
}

/// An element called `tag`.
#[must_use]
pub fn el(tag: &'static str) -> El {
    let (fixed, live, listeners, children) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    El(Box::new(Making { tag, svg: false, fixed, live, listeners, built: None, gone: None, children }))
}

/// An element of class `class`.
#[must_use]
pub fn with_class(tag: &'static str, class: &'static str) -> El {
    el(tag).attr("class", class)
}

/// An element that holds a name from outside: in its own direction of writing, never translated, and in full where the pointer
/// rests.
#[must_use]
pub fn named(tag: &'static str, class: &'static str, name: String) -> El {
    with_class(tag, class).attr("dir", "auto").attr("translate", "no").attr("title", name.clone()).child(name)
}

/// A drawing's element called `tag`.
#[must_use]
pub fn svg(tag: &'static str) -> El {
    let mut el = el(tag);
    el.0.svg = true;
    el
}

/// A piece that is made again when a signal that it read has changed.
#[must_use]
pub fn live<N: Into<Node> + 'static>(make: impl FnMut() -> N + 'static) -> Node {
    Node::Live(Box::new(make))
}

/// Elements that stay themselves while their order changes.
#[must_use]
pub fn each(items: impl FnMut() -> Vec<Item> + 'static) -> Node {
    Node::Each(Box::new(items))
}

/// The element known by `key`, which `make` makes when it is new.
#[must_use]
pub fn item(key: String, make: impl FnOnce() -> El + 'static) -> Item {
    Item { key, make: Box::new(make) }
}

/// Nothing.
#[must_use]
pub const fn nothing() -> Node {
    Node::Many(Vec::new())
}

/// A signal that follows `value` and says so only when it changes.
#[must_use]
pub fn derived(mut value: impl FnMut() -> u64 + 'static) -> RwSignal<u64> {
    let signal = RwSignal::new(u64::MAX);
    let effect = RenderEffect::new(move |_| {
        let now = value();
        if signal.get_untracked() != now {
            signal.set(now);
        }
    });
    // It follows for as long as what it was made for is there.
    StoredValue::new_local(effect);
    signal
}

impl El {
    /// With attribute `name`.
    #[must_use]
    pub fn attr(self, name: &'static str, value: impl Into<Words>) -> Self {
        self.fixed(name, value.into())
    }

    #[inline(never)]
    fn fixed(mut self, name: &'static str, value: Words) -> Self {
        self.0.fixed.push((name, value));
        self
    }

    /// With attribute `name`, where there is a value.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.fixed(name, value.into()),
            None => self,
        }
    }

    /// With an attribute that follows the signals that `value` reads.
    #[must_use]
    pub fn live(mut self, name: &'static str, value: impl FnMut() -> String + 'static) -> Self {
        self.0.live.push((name, Box::new(value)));
        self
    }

    /// That does `act` on `event`.
    #[must_use]
    pub fn on(mut self, event: &'static str, act: impl FnMut(Event) + 'static) -> Self {
        self.0.listeners.push((event, Box::new(act)));
        self
    }

    /// That is shown to `look` once it is built.
    #[must_use]
    pub fn built(mut self, look: impl FnOnce(&Element) + 'static) -> Self {
        self.0.built = Some(Box::new(look));
        self
    }

    /// That does `act` once it is gone for good.
    #[must_use]
    pub fn gone(mut self, act: impl FnOnce() + 'static) -> Self {
        self.0.gone = Some(Box::new(act));
        self
    }

    /// That holds `child` after what it holds already.
    #[must_use]
    pub fn child(self, child: impl Into<Node>) -> Self {
        self.holding(child.into())
    }

    #[inline(never)]
    fn holding(mut self, child: Node) -> Self {
        self.0.children.push(child);
        self
    }

    /// That holds `children` after what it holds already.
    #[must_use]
    pub fn children<N: Into<Node>>(self, children: impl IntoIterator<Item = N>) -> Self {
        children.into_iter().fold(self, |el, child| el.holding(child.into()))
    }
}

impl Making {
    /// Whether it is nothing but texts and attributes, so that another can take its place without being built.
    fn is_plain(&self) -> bool {
        self.live.is_empty() && self.listeners.is_empty() && self.built.is_none() && self.gone.is_none()
    }
}

impl From<El> for Node {
    fn from(el: El) -> Self {
        Self::Element(el)
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&'static str> for Node {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl<N: Into<Self>> From<Option<N>> for Node {
    fn from(node: Option<N>) -> Self {
        node.map_or_else(nothing, Into::into)
    }
}

impl<N: Into<Self>> From<Vec<N>> for Node {
    fn from(nodes: Vec<N>) -> Self {
        Self::Many(nodes.into_iter().map(Into::into).collect())
    }
}

/// A piece that is in the document, or could be.
enum Built {
    Text(web_sys::Text, Words),
    Element(BuiltEl),
    /// What it is now, the places where it begins and ends, and the effect that keeps it so.
    Live(
        Rc<RefCell<Vec<Self>>>,
        [web_sys::Node; 2],
        #[allow(dead_code, reason = "dropping it ends the effect")] RenderEffect<()>,
    ),
    Each(
        Rc<RefCell<Vec<BuiltItem>>>,
        web_sys::Node,
        #[allow(dead_code, reason = "dropping it ends the effect")] RenderEffect<()>,
    ),
}

struct BuiltEl {
    element: Element,
    tag: &'static str,
    plain: bool,
    fixed: Vec<(&'static str, Words)>,
    children: Vec<Built>,
    gone: Option<Box<dyn FnOnce()>>,
    _listeners: Vec<Closure<dyn FnMut(Event)>>,
    _effects: Vec<RenderEffect<()>>,
}

impl Drop for BuiltEl {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            gone();
        }
    }
}

struct BuiltItem {
    key: String,
    el: BuiltEl,
    _owner: Owner,
}

/// Puts pieces into a document. A browser that refuses an operation leaves that piece out; there is no better answer.
#[derive(Clone)]
struct Builder(Document);

impl Builder {
    fn build(&self, node: Node, into: &mut Vec<Built>) {
        match node {
            Node::Text(text) => into.push(Built::Text(self.0.create_text_node(&text), text)),
            Node::Element(el) => into.extend(self.element(el).map(Built::Element)),
            Node::Many(nodes) => nodes.into_iter().for_each(|node| self.build(node, into)),
            Node::Live(make) => into.push(self.live(make)),
            Node::Each(items) => into.push(self.each(items)),
        }
    }

    fn build_all(&self, nodes: Vec<Node>) -> Vec<Built> {
        let mut built = Vec::with_capacity(nodes.len());
        nodes.into_iter().for_each(|node| self.build(node, &mut built));
        built
    }

    fn element(&self, el: El) -> Option<BuiltEl> {
        let plain = el.0.is_plain();
        let Making { tag, svg, fixed, live, listeners, built, gone, children } = *el.0;
        let element = if svg {
            self.0.create_element_ns(Some("http://www.w3.org/2000/svg"), tag)
        } else {
            self.0.create_element(tag)
        };
        let element = element.ok()?;
        for (name, value) in &fixed {
            let _ = element.set_attribute(name, value);
        }
        let children = self.build_all(children);
        children.iter().for_each(|child| child.mount(&element, None));
        let listeners = listeners.into_iter().map(|(event, act)| {
            let listener = listener(act);
            let _ = element.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
            listener
        });
        let listeners = listeners.collect();
        let effects = live.into_iter().map(|(name, mut value)| {
            let (element, mut before) = (element.clone(), None);
            RenderEffect::new(move |_| {
                let now = value.say();
                if before.as_ref() != Some(&now) {
                    let _ = element.set_attribute(name, &now);
                    before = Some(now);
                }
            })
        });
        let effects = effects.collect();
        if let Some(look) = built {
            look(&element);
        }
        Some(BuiltEl { element, tag, plain, fixed, children, gone, _listeners: listeners, _effects: effects })
    }

    fn live(&self, mut make: Box<dyn Make>) -> Built {
        let (builder, [begin, end]) = (self.clone(), [self.end(), self.end()]);
        let content = Rc::new(RefCell::new(Vec::new()));
        let effect = RenderEffect::new({
            let (content, begin, end) = (Rc::clone(&content), begin.clone(), end.clone());
            move |_| {
                let nodes = flat(make.make());
                let place = end.parent_node().map(|parent| Place { parent, edges: Some([&begin, &end]) });
                builder.replace(&mut content.borrow_mut(), nodes, place.as_ref());
            }
        });
        Built::Live(content, [begin, end], effect)
    }

    fn each(&self, mut items: Box<dyn List>) -> Built {
        let (builder, end) = (self.clone(), self.end());
        // What an item owns lives as long as the item, not only until the list is made again.
        let owner = Owner::current();
        let content: Rc<RefCell<Vec<BuiltItem>>> = Rc::default();
        let effect = RenderEffect::new({
            let (content, end) = (Rc::clone(&content), end.clone());
            move |_| {
                let items = items.list();
                untrack(|| builder.reorder(&mut content.borrow_mut(), items, owner.as_ref(), &end));
            }
        });
        Built::Each(content, end, effect)
    }

    /// An invisible node that says where a part begins or ends.
    fn end(&self) -> web_sys::Node {
        self.0.create_comment("").into()
    }

    /// Makes `built`, which is in `place`, what `nodes` say: touched where they are alike, built anew where not.
    fn replace(&self, built: &mut Vec<Built>, nodes: Vec<Node>, place: Option<&Place<'_>>) {
        let is_alike = built.len() == nodes.len() && built.iter().zip(&nodes).all(|(built, node)| built.fits(node));
        if is_alike {
            let parent = place.map(|place| &place.parent);
            let mut is_intact = true;
            built.iter_mut().zip(nodes).for_each(|(built, node)| is_intact &= self.patch(built, node, parent));
            if is_intact {
                return;
            }
        } else {
            std::mem::take(built).iter().for_each(Built::remove);
            *built = self.build_all(nodes);
        }
        if let Some(place) = place {
            place.clear();
            let end = place.edges.map(|[_, end]| end);
            built.iter().for_each(|built| built.mount(&place.parent, end));
        }
    }

    /// Makes `built`, below `parent`, what `node` says; says whether it is still where it was put.
    fn patch(&self, built: &mut Built, node: Node, parent: Option<&web_sys::Node>) -> bool {
        match (built, node) {
            (Built::Text(text, before), Node::Text(now)) if *before != now => {
                text.set_data(&now);
                *before = now;
                text.parent_node().as_ref() == parent
            }
            (Built::Element(built), Node::Element(el)) => {
                let making = *el.0;
                for ((_, before), (name, now)) in built.fixed.iter_mut().zip(making.fixed) {
                    if *before != now {
                        let _ = built.element.set_attribute(name, &now);
                        *before = now;
                    }
                }
                let children = flat(Node::Many(making.children));
                let place = Place { parent: built.element.clone().into(), edges: None };
                self.replace(&mut built.children, children, Some(&place));
                true
            }
            _ => true,
        }
    }

    /// Keeps the elements whose keys are still there, makes the new ones, and puts all in order, moving as few as possible.
    fn reorder(&self, built: &mut Vec<BuiltItem>, items: Vec<Item>, owner: Option<&Owner>, end: &web_sys::Node) {
        if built.len() == items.len() && built.iter().zip(&items).all(|(built, item)| built.key == item.key) {
            return;
        }
        let mut old: Vec<Option<BuiltItem>> = built.drain(..).map(Some).collect();
        for (at, Item { key, make }) in items.into_iter().enumerate() {
            // Most elements are where they were, or near.
            let known = (at..old.len())
                .chain(0..at.min(old.len()))
                .find(|&at| old[at].as_ref().is_some_and(|item| item.key == key));
            if let Some(known) = known.and_then(|known| old[known].take()) {
                built.push(known);
                continue;
            }
            let owner = owner.map_or_else(Owner::new, Owner::child);
            if let Some(el) = owner.with(|| self.element(make())) {
                built.push(BuiltItem { key, el, _owner: owner });
            }
        }
        old.iter().flatten().for_each(|gone| gone.el.element.remove());
        let Some(parent) = end.parent_node() else { return };
        let mut next = end.clone();
        for item in built.iter().rev() {
            let node: &web_sys::Node = &item.el.element;
            if node.next_sibling().as_ref() != Some(&next) {
                let _ = parent.insert_before(node, Some(&next));
            }
            next = node.clone();
        }
    }
}

/// Where pieces are: in an element, between two nodes of it, or all that is in it.
struct Place<'a> {
    parent: web_sys::Node,
    edges: Option<[&'a web_sys::Node; 2]>,
}

impl Place<'_> {
    /// Removes all that is there, whoever put it there.
    fn clear(&self) {
        let next = || match self.edges {
            Some([begin, end]) => begin.next_sibling().filter(|next| next != end),
            None => self.parent.first_child(),
        };
        while let Some(next) = next() {
            if self.parent.remove_child(&next).is_err() {
                return;
            }
        }
    }
}

fn listener(mut act: Box<dyn Act>) -> Closure<dyn FnMut(Event)> {
    Closure::new(move |event| act.act(event))
}

fn flat(node: Node) -> Vec<Node> {
    let mut nodes = Vec::new();
    flatten(node, &mut nodes);
    nodes
}

fn flatten(node: Node, into: &mut Vec<Node>) {
    match node {
        Node::Many(nodes) => nodes.into_iter().for_each(|node| flatten(node, into)),
        one => into.push(one),
    }
}

impl Built {
    /// Whether `node` can take this one's place by changes of text and attributes alone.
    fn fits(&self, node: &Node) -> bool {
        match (self, node) {
            (Self::Text(..), Node::Text(_)) => true,
            (Self::Element(built), Node::Element(el)) => {
                let making = &el.0;
                let names = built.fixed.iter().zip(&making.fixed);
                built.plain
                    && making.is_plain()
                    && built.tag == making.tag
                    && built.fixed.len() == making.fixed.len()
                    && names.into_iter().all(|((before, _), (now, _))| before == now)
            }
            _ => false,
        }
    }

    fn mount(&self, parent: &web_sys::Node, before: Option<&web_sys::Node>) {
        let insert = |node: &web_sys::Node| drop(parent.insert_before(node, before));
        match self {
            Self::Text(text, _) => insert(text),
            Self::Element(built) => insert(&built.element),
            Self::Live(content, [begin, end], _) => {
                insert(begin);
                content.borrow().iter().for_each(|built| built.mount(parent, before));
                insert(end);
            }
            Self::Each(content, end, _) => {
                content.borrow().iter().for_each(|item| insert(&item.el.element));
                insert(end);
            }
        }
    }

    fn remove(&self) {
        let detach = |node: &web_sys::Node| {
            if let Some(parent) = node.parent_node() {
                let _ = parent.remove_child(node);
            }
        };
        match self {
            Self::Text(text, _) => detach(text),
            Self::Element(built) => detach(&built.element),
            Self::Live(content, [begin, end], _) => {
                // With what others have put between.
                if let Some(parent) = end.parent_node() {
                    Place { parent, edges: Some([begin, end]) }.clear();
                }
                content.borrow().iter().for_each(Self::remove);
                detach(begin);
                detach(end);
            }
            Self::Each(content, end, _) => {
                content.borrow().iter().for_each(|item| detach(&item.el.element));
                detach(end);
            }
        }
    }
}

/// What Leptos holds of a mounted page.
#[allow(missing_debug_implementations, reason = "it holds closures")]
pub struct Mounted(Vec<Built>);

impl Render for Node {
    type State = Mounted;

    fn build(self) -> Mounted {
        let builder = crate::browser::document().map(Builder);
        Mounted(builder.map(|builder| builder.build_all(vec![self])).unwrap_or_default())
    }

    fn rebuild(self, state: &mut Mounted) {
        *state = self.build();
    }
}

impl Mountable for Mounted {
    fn unmount(&mut self) {
        self.0.iter().for_each(Built::remove);
    }

    fn mount(&mut self, parent: &Element, marker: Option<&web_sys::Node>) {
        self.0.iter().for_each(|built| built.mount(parent, marker));
    }

    fn insert_before_this(&self, _child: &mut dyn Mountable) -> bool {
        false
    }

    fn elements(&self) -> Vec<Element> {
        Vec::new()
    }
}
