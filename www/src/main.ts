import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { startApp } from "./lib/app.svelte";

startApp();

const target = document.getElementById("app");
if (target === null) throw new Error("the page has no #app");
mount(App, { target });
