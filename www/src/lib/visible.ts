/** Acts when an element is in view: a farm of a thousand builders asks only for the rows that are seen. */

export interface WhenVisible {
  /** Nothing happens while this is false. */
  active: boolean;
  run: () => void;
}

export function whenVisible(
  node: HTMLElement,
  options: WhenVisible,
): { update(next: WhenVisible): void; destroy(): void } {
  let current = options;
  let visible = false;
  const act = (): void => {
    if (visible && current.active) current.run();
  };
  const observer = new IntersectionObserver((entries) => {
    visible = entries.some((entry) => entry.isIntersecting);
    act();
  });
  observer.observe(node);
  return {
    update(next) {
      current = next;
      act();
    },
    destroy: () => observer.disconnect(),
  };
}
