import Foundation

extension TaskSpec {
  /// Logits → probabilities, one per label, in the arithmetic of `runtime/decisions.py`: doubles.
  public func probabilities(_ logits: [Float]) -> [Double] {
    let values = logits.map(Double.init)
    if activation == .softmax {
      let largest = values.max() ?? 0
      let powers = values.map { exp($0 - largest) }
      let sum = powers.reduce(0, +)
      return powers.map { $0 / sum }
    }
    // Two branches, so that no exponent is positive and nothing overflows.
    return values.map { value in
      let small = exp(-abs(value))
      return value >= 0 ? 1 / (1 + small) : small / (1 + small)
    }
  }

  /// Whether a text gets each label.
  ///
  /// Single-label: the largest logit, the first one on a tie. Multi-label: every label whose
  /// probability reaches its threshold.
  public func decisions(_ logits: [Float]) -> [Bool] {
    if let thresholds {
      return zip(probabilities(logits), thresholds).map { $0 >= $1 }
    }
    // As numpy's argmax: what is not a number is the largest.
    let best =
      logits.firstIndex(where: \.isNaN)
      ?? logits.indices.max { logits[$0] < logits[$1] || (logits[$0] == logits[$1] && $0 > $1) }
    return logits.indices.map { $0 == best }
  }
}
