/// The octets in pieces of odd lengths, which follow from the octets themselves.
pub(crate) fn pieces(octets: &[u8]) -> Vec<&[u8]> {
    let mut state =
        octets.iter().fold(octets.len(), |sum, octet| sum.wrapping_mul(31).wrapping_add(usize::from(*octet)));
    let (mut pieces, mut rest) = (Vec::new(), octets);
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let most = if state & (1 << 40) == 0 { 4 } else { 100 };
        let (piece, after) = rest.split_at(rest.len().min(1 + (state >> 33) % most));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
