// Reads values out under the pointer, in all plots of a run at once: the time is the same in each.
'use strict';
for (const group of document.querySelectorAll('.together')) {
  const plots = [...group.querySelectorAll('.plot')].map((plot) => {
    const rule = document.createElement('i');
    rule.className = 'rule';
    const box = document.createElement('div');
    box.className = 'box';
    const over = plot.querySelector('.over');
    over.append(rule, box);
    return { plot, over, rule, box, data: JSON.parse(plot.dataset.read), dots: [] };
  });
  const hide = () => {
    for (const { over } of plots) over.classList.remove('on');
  };
  const show = (at) => {
    for (const one of plots) {
      const { x, n, l } = one.data;
      let near = 0;
      x.forEach((place, i) => {
        if (Math.abs(place - at) < Math.abs(x[near] - at)) near = i;
      });
      for (const dot of one.dots) dot.remove();
      one.dots = [];
      one.box.replaceChildren();
      const head = document.createElement('b');
      head.textContent = n[near] ?? '';
      one.box.append(head);
      for (const line of l) {
        if (line.y[near] === null || line.y[near] === undefined) continue;
        const dot = document.createElement('i');
        dot.className = 'at ' + line.c;
        dot.style.left = x[near] + '%';
        dot.style.top = line.y[near] + 'px';
        one.over.append(dot);
        one.dots.push(dot);
        const row = document.createElement('span');
        const key = document.createElement('i');
        key.className = 'chip ' + line.c;
        const value = document.createElement('em');
        value.textContent = line.t[near];
        row.append(key, line.n, value);
        one.box.append(row);
      }
      one.rule.style.left = x[near] + '%';
      one.box.style.left = x[near] + '%';
      one.box.classList.toggle('left', x[near] > 55);
      one.over.classList.add('on');
    }
  };
  for (const { over } of plots) {
    over.addEventListener('pointermove', (event) => {
      const place = over.getBoundingClientRect();
      show(((event.clientX - place.left) / place.width) * 100);
    });
    over.addEventListener('pointerleave', hide);
  }
}
