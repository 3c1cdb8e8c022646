//! The disks where mail lies, for operators.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use disk_room::{Disk, Shortage};
use mail_config::{Config, show_size};
use mail_metrics::{Metric, Sample};
use tracing::warn;

use super::control::NoticeReport;

/// What lies on them, in the order of [`Config::rooms`].
const NAMES: [&str; 2] = ["mail", "queue"];
/// What that means, and what an operator can do.
const TO_DO: &str = "mail is refused for now (452 4.3.1), what is there can be read, deleted and sent on: make room, or the disk larger";

/// All there is to say of them. Blocks.
pub(super) fn look(config: &Config) -> (Vec<Sample>, Vec<NoticeReport>) {
    let notices = notices(config);
    let notices = notices.inspect_err(|error| warn!(%error, "the disk can't be asked how full it is"));
    (samples(config), notices.unwrap_or_default())
}

/// How much is free on each, and is to be. What can't be found out is left out. Blocks.
fn samples(config: &Config) -> Vec<Sample> {
    let rooms = config.rooms();
    let disks =
        rooms.iter().zip(NAMES).filter_map(|(room, name)| Some((Disk::of(room.folder()).ok()?, name)));
    let both = disks.flat_map(|(disk, name)| {
        [(Metric::DiskFree, disk.free), (Metric::DiskMinFree, config.limits.min_free.of(disk))]
            .map(|(metric, value)| Sample { metric, labels: vec![name.to_owned()], value })
    });
    both.collect()
}

/// On which of them mail is refused, and what is to be done. Blocks.
fn notices(config: &Config) -> io::Result<Vec<NoticeReport>> {
    let (mut seen, mut notices) = (Vec::new(), Vec::new());
    for room in config.rooms() {
        let device = room.folder().metadata()?.dev();
        let shortage = room.shortage()?.filter(|_| !seen.contains(&device));
        seen.push(device);
        notices.extend(shortage.map(|shortage| NoticeReport {
            subject: "full disk".to_owned(),
            text: format!("{} of {}; {}", what(shortage), room.folder().display(), TO_DO),
            since: None,
        }));
    }
    Ok(notices)
}

fn what(shortage: Shortage) -> String {
    if shortage.is_of_files() {
        return "hardly a file more can be made on the disk".to_owned();
    }
    let [free, min_free] = [shortage.free, shortage.min_free].map(show_size);
    format!("{free} are free, and {min_free} must stay so (limits.min_free), on the disk")
}

#[cfg(test)]
mod tests {
    use disk_room::MinFree;

    use super::*;

    fn config(min_free: MinFree) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new("mail.example.org".parse().unwrap(), folder.path().to_owned());
        config.limits.min_free = min_free;
        config.rooms().iter().for_each(|room| std::fs::create_dir(room.folder()).unwrap());
        (folder, config)
    }

    #[test]
    fn a_disk_on_which_mail_is_refused_is_told_once_whatever_lies_there() {
        let (_folder, config) = config(MinFree::octets(1 << 60));
        let told = notices(&config).unwrap();
        assert_eq!(told.len(), 1);
        assert!(told[0].text.contains("1048576 TiB must stay so"), "{}", told[0].text);
    }

    #[test]
    fn of_a_disk_with_room_there_is_nothing_to_tell_but_figures() {
        let (_folder, config) = config(MinFree::octets(4096));
        assert!(notices(&config).unwrap().is_empty());
        let samples = samples(&config);
        let of = |metric| samples.iter().filter(move |it| it.metric == metric);
        assert_eq!(of(Metric::DiskMinFree).map(|it| it.value).collect::<Vec<_>>(), [4096, 4096]);
        assert!(of(Metric::DiskFree).all(|it| it.value > 4096));
    }
}
