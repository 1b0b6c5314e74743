/** Tells waiting for pictures from learning. */
export function stopwatch() {
  const begun = performance.now();
  let [at, waited, learnt, pictures] = [begun, 0, 0, 0];
  let before = { waited: 0, learnt: 0, at: begun };
  const pass = () => {
    const now = performance.now();
    const passed = now - at;
    at = now;
    return passed;
  };
  const rates = (waiting: number, learning: number, count: number, milliseconds: number) => ({
    imagesPerSecond: milliseconds > 0 ? (1000 * count) / milliseconds : 0,
    busy: learning / (waiting + learning || 1),
  });
  let steps = 0;
  return {
    got() {
      waited += pass();
    },
    stepped() {
      learnt += pass();
      steps++;
    },
    /** Since the last time it was asked. */
    lap(batch: number) {
      const found = rates(waited - before.waited, learnt - before.learnt, batch * steps, at - before.at);
      pictures += batch * steps;
      steps = 0;
      before = { waited, learnt, at };
      return found;
    },
    whole: () => ({ seconds: (at - begun) / 1000, ...rates(waited, learnt, pictures, at - begun) }),
  };
}
