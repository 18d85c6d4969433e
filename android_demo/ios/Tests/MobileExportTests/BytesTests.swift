import XCTest

@testable import MobileExport

final class BytesTests: XCTestCase {
  /// The examples of FIPS 180-4, and every length around a block's end.
  func testSHA256() {
    XCTAssertEqual(
      sha256(Data()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    XCTAssertEqual(
      sha256(Data("abc".utf8)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    XCTAssertEqual(
      sha256(Data("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)),
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
    XCTAssertEqual(
      sha256(Data(repeating: UInt8(ascii: "a"), count: 1_000_000)),
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    let lengths = (0...130).map { sha256(Data(repeating: 0, count: $0)) }
    XCTAssertEqual(
      sha256(Data(lengths.joined().utf8)),
      "54e76fce7077001577d4cd003983a26b89611ab84dce9950b9aaf77133a69f94")
  }

  func testLoneSurrogatesBecomeTheManifestsReplacement() throws {
    let json = #"["\ud800", "a\\ud800", "\udc00\ud83d\ude00", "\ud83d\ud83d\ude00", "\ud8", "é"]"#
    let whole = replacingLoneSurrogates(in: Data(json.utf8), with: "\u{FFFD}")
    XCTAssertEqual(
      String(decoding: whole, as: UTF8.self),
      #"["\ufffd", "a\\ud800", "\ufffd\ud83d\ude00", "\ufffd\ud83d\ude00", "\ud8", "é"]"#)
  }

  func testAReplacementMayBeAnything() {
    let whole = replacingLoneSurrogates(in: Data(#""\uDFFF\n""#.utf8), with: "\"😀")
    XCTAssertEqual(String(decoding: whole, as: UTF8.self), #""\u0022\ud83d\ude00\n""#)
  }

  func testJSONCutInAnEscapeIsLeftAsItIs() {
    for cut in [#""\"#, #""\u"#, #""\ud80"#, #""\ud800\"#, #""\ud800\ud"#] {
      let whole = replacingLoneSurrogates(in: Data(cut.utf8), with: "?")
      XCTAssertEqual(
        String(decoding: whole, as: UTF8.self),
        cut.replacingOccurrences(of: #"\ud800"#, with: #"\u003f"#))
    }
  }
}
