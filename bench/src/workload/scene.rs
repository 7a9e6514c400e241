//! Scenes, which define what is published and who subscribes to it; and a system prepared to run one.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use joey_shared::series::{Filter, Topic};
use joey_shared::wire::Start;

use crate::crowd::{Crowd, ViewerSpec};
use crate::machine::Cores;
use crate::publisher::Publisher;
use crate::record::{CATEGORIES, Records, now_ns};
use crate::server::Server;
use crate::system::System;
use crate::topic::{Grain, app_topic};

/// Time for a system to settle after the first frames, which create the applications that viewers subscribe to.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// What is published, and who subscribes to it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) viewers: usize,
    apps: Vec<String>,
    /// Number of series of each application.
    series: usize,
    /// The topics of each viewer, assigned in turn.
    topics: Vec<Vec<Topic>>,
    grain: Grain,
    /// Updates that one viewer receives in a round of all series.
    pub(crate) each: usize,
}

impl Scene {
    /// All viewers subscribe to all of one application.
    pub(crate) fn dashboard(viewers: usize, series: usize) -> Self {
        Self::many_apps(viewers, 1, series)
    }

    /// Each viewer subscribes to all of one of many applications.
    pub(crate) fn many_apps(viewers: usize, apps: usize, series: usize) -> Self {
        let apps = names(apps);
        let topics = apps.iter().map(|app| vec![app_topic(app)]).collect();
        Self { viewers, apps, series, topics, grain: Grain::App, each: series }
    }

    /// Each viewer subscribes to all of one application, a category of another, and a series of a third.
    pub(crate) fn mixed(viewers: usize, series: usize) -> Self {
        let apps = names(3);
        let topics_of = |at: usize| {
            let [first, second, third] = [0, 1, 2].map(|step| apps[(at + step) % apps.len()].clone());
            let category = Topic { app: second, filter: Filter::Category(CATEGORIES[0].to_owned()) };
            let single = Records::new(&third, 1).topic(at % series);
            vec![app_topic(&first), category, single]
        };
        let topics = (0..3 * series).map(topics_of).collect();
        let each = series + series.div_ceil(CATEGORIES.len()) + 1;
        Self { viewers, apps, series, topics, grain: Grain::Series, each }
    }

    /// Each viewer subscribes to every series of one application separately.
    pub(crate) fn narrow(viewers: usize, series: usize) -> Self {
        let apps = names(1);
        let topics = vec![(0..series).map(|at| Records::new(&apps[0], 1).topic(at)).collect()];
        Self { viewers, apps, series, topics, grain: Grain::Series, each: series }
    }

    /// The published data.
    pub(crate) fn records(&self) -> Vec<Records> {
        self.apps.iter().map(|app| Records::new(app, self.series)).collect()
    }

    /// The subscriptions of `viewers` viewers of this scene.
    pub(crate) fn viewer_spec(&self, viewers: usize) -> ViewerSpec<'_> {
        ViewerSpec { viewers, topics: &self.topics, grain: self.grain, start: Start::Live, stops_reading: false }
    }
}

/// Names of equal length, as the crowd requires.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("bench-{at:02}")).collect()
}

/// A system with a producer for each application.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) publishers: Vec<Publisher>,
}

impl Stage {
    /// Starts `system` with further `arguments`, and publishes one round.
    pub(crate) fn open(
        system: System,
        arguments: &[&str],
        scene: &Scene,
        records: &mut [Records],
        cores: Cores,
    ) -> Result<Self> {
        let server = Server::start(system, arguments, cores)?;
        let publishers: Result<_> =
            records.iter().map(|records| Publisher::connect(&server, records, scene.grain)).collect();
        let mut stage = Self { server, publishers: publishers? };
        stage.round(records, 0)?;
        thread::sleep(SETTLE_TIME);
        Ok(stage)
    }

    /// Makes every producer send a frame of each of its series.
    pub(crate) fn round(&mut self, records: &mut [Records], number: usize) -> Result<()> {
        let at_ns = now_ns();
        self.publishers
            .iter_mut()
            .zip(records)
            .try_for_each(|(publisher, records)| publisher.round(records, number, at_ns))
    }

    /// Connects viewers and waits until all are subscribed; returns the number of their group.
    pub(crate) fn connect_viewers(&mut self, crowd: &mut Crowd, spec: ViewerSpec<'_>) -> Result<usize> {
        crowd.connect(&self.server, spec, || self.publishers.iter_mut().try_for_each(Publisher::nudge))
    }

    /// Publishes a round and checks that every viewer of `group` receives it.
    pub(crate) fn verify(
        &mut self,
        crowd: &mut Crowd,
        group: usize,
        scene: &Scene,
        records: &mut [Records],
    ) -> Result<()> {
        let wanted = crowd.groups[group].updates + (crowd.groups[group].ready * scene.each) as u64;
        self.round(records, 0)?;
        crowd.until_received(group, wanted)?;
        crowd.ensure_each_received(group, scene.each as u64)
    }
}
