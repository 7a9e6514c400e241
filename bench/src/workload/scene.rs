//! Who publishes what, and who watches what of it; and a system that has been brought to carry it.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::Start;

use crate::crowd::{Crowd, Wish};
use crate::machine::Cores;
use crate::publisher::Publisher;
use crate::record::{CATEGORIES, Records, now_ns};
use crate::server::Server;
use crate::system::System;
use crate::topic::{Grain, whole};

/// How long a system may take to find its feet after the first frames: they make the applications that viewers then watch.
const SETTLING: Duration = Duration::from_millis(100);

/// Who publishes what, and who watches what of it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) viewers: usize,
    apps: Vec<String>,
    /// Of each application.
    series: usize,
    /// What each viewer watches; they take turns.
    wants: Vec<Vec<Topic>>,
    grain: Grain,
    /// Updates that one viewer gets in a round of all series.
    pub(crate) each: usize,
}

impl Scene {
    /// Everybody watches all of one application.
    pub(crate) fn dashboard(viewers: usize, series: usize) -> Self {
        Self::many_apps(viewers, 1, series)
    }

    /// Each viewer watches all of one of many applications.
    pub(crate) fn many_apps(viewers: usize, apps: usize, series: usize) -> Self {
        let apps = names(apps);
        let wants = apps.iter().map(|app| vec![whole(app)]).collect();
        Self { viewers, apps, series, wants, grain: Grain::App, each: series }
    }

    /// Each viewer watches all of one application, a category of another, and a series of a third.
    pub(crate) fn mixed(viewers: usize, series: usize) -> Self {
        let apps = names(3);
        let want = |at: usize| {
            let [first, second, third] = [0, 1, 2].map(|step| apps[(at + step) % apps.len()].clone());
            let category = Topic { app: second, filter: Filter::Category(CATEGORIES[0].to_owned()) };
            let single = Records::new(&third, 1).topic(at % series);
            vec![whole(&first), category, single]
        };
        let wants = (0..3 * series).map(want).collect();
        let each = series + series.div_ceil(CATEGORIES.len()) + 1;
        Self { viewers, apps, series, wants, grain: Grain::Series, each }
    }

    /// Everybody watches every series of one application, each by a subscription of its own.
    pub(crate) fn narrow(viewers: usize, series: usize) -> Self {
        let apps = names(1);
        let wants = vec![(0..series).map(|at| Records::new(&apps[0], 1).topic(at)).collect()];
        Self { viewers, apps, series, wants, grain: Grain::Series, each: series }
    }

    /// What is published.
    pub(crate) fn records(&self) -> Vec<Records> {
        self.apps.iter().map(|app| Records::new(app, self.series)).collect()
    }

    /// What so many viewers of this scene ask for.
    pub(crate) fn wish(&self, viewers: usize) -> Wish<'_> {
        Wish { viewers, topics: &self.wants, grain: self.grain, start: Start::Live, is_deaf: false }
    }
}

/// All of one length, as the crowd wants them.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("bench-{at:02}")).collect()
}

/// A system with a producer of each application.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) publishers: Vec<Publisher>,
}

impl Stage {
    /// Starts `system` with further `words`, and has it take a round.
    pub(crate) fn open(
        system: System,
        words: &[&str],
        scene: &Scene,
        records: &mut [Records],
        cores: Cores,
    ) -> Result<Self> {
        let server = Server::start(system, words, cores)?;
        let publishers: Result<_> =
            records.iter().map(|records| Publisher::connect(&server, records, scene.grain)).collect();
        let mut stage = Self { server, publishers: publishers? };
        stage.round(records, 0)?;
        thread::sleep(SETTLING);
        Ok(stage)
    }

    /// Has every producer send a frame of each of its series.
    pub(crate) fn round(&mut self, records: &mut [Records], number: usize) -> Result<()> {
        let at_ns = now_ns();
        self.publishers
            .iter_mut()
            .zip(records)
            .try_for_each(|(publisher, records)| publisher.round(records, number, at_ns))
    }

    /// Brings viewers and waits until all have been let in; gives the number of their group.
    pub(crate) fn admit(&mut self, crowd: &mut Crowd, wish: Wish<'_>) -> Result<usize> {
        crowd.bring(&self.server, wish, || self.publishers.iter_mut().try_for_each(Publisher::nudge))
    }

    /// Has everybody of `group` get a round, and makes sure of it.
    pub(crate) fn verify(
        &mut self,
        crowd: &mut Crowd,
        group: usize,
        scene: &Scene,
        records: &mut [Records],
    ) -> Result<()> {
        let wanted = crowd.groups[group].updates + (crowd.groups[group].ready * scene.each) as u64;
        self.round(records, 0)?;
        crowd.until_got(group, wanted)?;
        crowd.ensure_each_got(group, scene.each as u64)
    }
}
