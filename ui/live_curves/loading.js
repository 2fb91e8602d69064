// plotly.js as the server has it, loaded once into the page whatever component asks first.

function loadPlotly(url) {
  return (window.__elboRoomPlotly ??= new Promise((resolve, reject) => {
    if (window.Plotly) return resolve(window.Plotly);
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = reject;
    document.head.append(script);
  }));
}

