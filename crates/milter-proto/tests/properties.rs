//! Rules that hold for whatever a milter sends.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::{Bytes, BytesMut};
use milter_proto::{Offer, Reply, next_packet};
use proptest::prelude::*;

proptest! {
    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Reply::parse(&Bytes::from(octets.clone()));
        let mut input = BytesMut::from(&octets[..]);
        while let Ok(Some(packet)) = next_packet(&mut input) {
            let _ = Reply::parse(&packet);
        }
    }

    #[test]
    fn packets_are_the_same_however_they_are_cut(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10),
        size in 1_usize..20,
    ) {
        let mut stream = Vec::new();
        for packet in &packets {
            stream.extend_from_slice(&u32::try_from(packet.len()).unwrap().to_be_bytes());
            stream.extend_from_slice(packet);
        }
        let (mut input, mut taken) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(size) {
            input.extend_from_slice(piece);
            while let Some(packet) = next_packet(&mut input).unwrap() {
                taken.push(packet.to_vec());
            }
        }
        prop_assert_eq!(taken, packets);
    }

    #[test]
    fn an_offer_is_parsed_as_it_was_encoded(actions: u32, steps: u32) {
        let offer = Offer {
            actions: milter_proto::Actions(actions),
            steps: milter_proto::Steps(steps),
            macros: vec![(milter_proto::Stage::Mail, vec!["i".to_owned(), "{auth_authen}".to_owned()])],
            ..Offer::ours()
        };
        let mut output = BytesMut::new();
        offer.encode(&mut output);
        let packet = next_packet(&mut output).unwrap().unwrap();
        prop_assert_eq!(Reply::parse(&packet).unwrap(), Reply::Negotiated(offer));
    }
}
