//! `dashboard`: who may come in, and what the page is told. The page only lays out what stands here.

pub mod door;
pub mod patch;
pub mod view;
