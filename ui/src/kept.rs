//! State that lives as long as the page, and that says when it changes.
//!
//! A tab has one model, one clock and one link; they are made once and never dropped, so a plain reference does. It is also
//! what keeps the bundle small: a signal of its own for every type would bring the code of one with it.

use std::cell::{RefCell, RefMut};

use leptos::prelude::{GetUntracked, RwSignal, Set, Track};

/// One value for the life of the page. Copies are the same value.
#[derive(Debug)]
pub struct Kept<T: 'static>(&'static RefCell<T>);

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Kept<T> {}

impl<T> Kept<T> {
    /// Keeps `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Box::leak(Box::new(RefCell::new(value))))
    }

    /// The value. Nobody may hold it while calling what may ask for it too.
    #[must_use]
    #[inline(never)]
    pub fn get(self) -> RefMut<'static, T> {
        self.0.borrow_mut()
    }
}

/// A kept value, and a signal that says when it changed.
#[derive(Debug)]
pub struct Told<T: 'static> {
    value: Kept<T>,
    changes: RwSignal<u64>,
}

impl<T> Clone for Told<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Told<T> {}

impl<T: Clone + PartialEq> Told<T> {
    /// Keeps `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { value: Kept::new(value), changes: RwSignal::new(0) }
    }

    /// The value, with its change as a reason to read again.
    #[must_use]
    pub fn get(self) -> T {
        self.changes.track();
        self.peek()
    }

    /// The value alone.
    #[must_use]
    pub fn peek(self) -> T {
        self.value.get().clone()
    }

    /// Changes it, and says so if that makes a difference.
    pub fn set(self, value: T) {
        if *self.value.get() != value {
            *self.value.get() = value;
            self.changes.set(self.changes.get_untracked() + 1);
        }
    }
}
