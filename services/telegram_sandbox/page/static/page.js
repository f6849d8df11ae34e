// Shows the chats as a phone would. Texts of messages become text nodes, never HTML.

const $ = (id) => document.getElementById(id);
const PAGE = 100;
const state = { chats: [], people: new Map(), chat: null, topic: null, replyTo: null, messages: [], more: false, seen: new Map() };

const json = async (url, body) => {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(url, options);
  const value = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(value.detail || value.title || `HTTP ${answer.status}`);
  return value;
};

const make = (tag, className, ...children) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

// ── dates, names, faces

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long" });
const time = (seconds) => {
  const node = make("time", "", clock.format(seconds * 1000));
  node.dateTime = new Date(seconds * 1000).toISOString();
  return node;
};
const initials = (title) => [...title.trim()].slice(0, 1).join("").toUpperCase() || "?";
const hue = (id) => Math.abs(id * 47) % 360;
const kindOf = (chat) => ({ private: "", group: "group", supergroup: chat.topics.length ? "topics" : "supergroup", channel: "channel" })[chat.type];
const snippet = (item) => {
  const message = item.message;
  if (message.text) return message.text;
  const kind = KINDS.find((name) => message[name]);
  if (kind) return `${message[kind].file_name || kind}${message.caption ? `: ${message.caption}` : ""}`;
  return service(message) || "";
};
const KINDS = ["photo", "document", "audio", "video", "animation", "voice", "sticker", "video_note"];
const service = (message) => {
  if (message.migrate_to_chat_id) return `Upgraded to the supergroup ${message.migrate_to_chat_id}`;
  if (message.migrate_from_chat_id) return `Upgraded from the group ${message.migrate_from_chat_id}`;
  return null;
};
const size = (bytes) => (bytes < 1024 ? `${bytes} B` : bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1048576).toFixed(1)} MB`);
const safe = (url) => (/^(https?|tg|mailto):/i.test(url) ? url : null);

// ── formatted text: entities are in UTF-16 units, as JavaScript strings are

const WRAP = {
  bold: () => make("strong"),
  italic: () => make("em"),
  underline: () => make("u"),
  strikethrough: () => make("s"),
  code: () => make("code"),
  pre: (entity) => {
    const node = make("pre");
    if (entity.language) node.dataset.language = entity.language;
    return node;
  },
  blockquote: () => make("blockquote"),
  expandable_blockquote: () => make("blockquote", "long"),
  text_link: (entity) => link(entity.url),
  url: (_, text) => link(/^[a-z]+:\/\//i.test(text) ? text : `http://${text}`),
  email: (_, text) => link(`mailto:${text}`),
  spoiler: () => {
    const node = make("span", "spoiler");
    node.role = "button";
    node.tabIndex = 0;
    node.ariaExpanded = "false";
    node.ariaLabel = "Hidden text";
    const show = () => {
      node.ariaExpanded = "true";
      node.removeAttribute("aria-label");
    };
    node.addEventListener("click", show);
    node.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && show());
    return node;
  },
};

const BLOCKS = new Set(["PRE", "BLOCKQUOTE"]);

const link = (url) => {
  const href = safe(url);
  const node = make(href ? "a" : "span");
  if (href) Object.assign(node, { href, target: "_blank", rel: "noreferrer noopener" });
  return node;
};

const rendered = (text, entities) => {
  const inner = (begin, end, inside) => {
    const nodes = [];
    let at = begin;
    for (let i = 0; i < inside.length; ) {
      const entity = inside[i];
      const stop = Math.min(entity.offset + entity.length, end);
      const nested = [];
      for (i += 1; i < inside.length && inside[i].offset < stop; i += 1) nested.push(inside[i]);
      if (entity.offset > at) nodes.push(text.slice(at, entity.offset));
      const node = (WRAP[entity.type] || (() => make("span", "mention")))(entity, text.slice(entity.offset, stop));
      node.append(...inner(entity.offset, stop, nested));
      nodes.push(node);
      at = stop + (BLOCKS.has(node.tagName) && text[stop] === "\n" ? 1 : 0); // a block element already ends the line
    }
    if (at < end) nodes.push(text.slice(at, end));
    return nodes;
  };
  return make("div", "body", ...inner(0, text.length, entities || []));
};

// ── one message

const keyboard = (item) => {
  const rows = item.message.reply_markup?.inline_keyboard;
  if (!rows) return null;
  return make("div", "keys", ...rows.map((row) => make("div", "", ...row.map((button) => key(item, button)))));
};

const key = (item, button) => {
  const href = button.url && safe(button.url);
  if (href) return Object.assign(make("a", "", `${button.text} ↗`), { href, target: "_blank", rel: "noreferrer noopener" });
  const node = make("button", "", button.text);
  node.type = "button";
  if (!button.callback_data) node.disabled = true;
  node.addEventListener("click", () => tap(item.message, button, node));
  return node;
};

const IMAGES = new Set(["photo", "animation"]);

const attachment = (item) => {
  const file = item.file;
  if (!file) return null;
  const image = IMAGES.has(file.kind) && !/\.(mp4|mov|webm)$/i.test(file.name);
  const node = image
    ? make("a", `picture${item.message.has_media_spoiler ? " covered" : ""}`, Object.assign(make("img"), { src: file.url, alt: file.name, loading: "lazy" }))
    : make("a", "document", make("span", "sheet", ICONS[file.kind] || "↓"), make("span", "", make("b", "", file.name), make("small", "", size(file.size))));
  node.href = file.url;
  node.download = file.name;
  return node;
};

const ICONS = { audio: "♪", voice: "♪", video: "▶", animation: "▶" };

// Messages of one album are one bubble: all files, then the captions.
const albums = (items) => {
  const grouped = [];
  for (const item of items) {
    const album = item.message.media_group_id;
    const last = grouped.at(-1);
    if (album && last && last.message.media_group_id === album) last.items.push(item);
    else grouped.push({ ...item, items: [item] });
  }
  return grouped;
};

const bellOff = () => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Sent without a sound");
  path.setAttribute("d", "M3.3 2 2 3.3l4.3 4.3A7 7 0 0 0 6 9.5V15l-2 3h12.7l4 4 1.3-1.3zM12 22a2.5 2.5 0 0 0 2.5-2.5h-5A2.5 2.5 0 0 0 12 22M18 13V9.500a6 6 0 0 0-4.500-5.800V3a1.500 1.500 0 0 0-3 0v.7q-1 .2-1.800.8z");
  svg.append(path);
  return svg;
};

const sign = (text, label) => {
  const node = make("span", "", text);
  node.role = "img";
  node.ariaLabel = label;
  return node;
};

// The sandbox fetches nothing: it shows the address of a preview.
const preview = (message) => {
  const options = message.link_preview_options;
  if (!options?.url || options.is_disabled) return null;
  const node = link(options.url);
  node.className = "preview";
  node.append(options.url);
  return node;
};

const meta = (item) => {
  const node = make("span", "meta");
  if (item.pinned) node.append(sign("📌", "Pinned"));
  if (item.message.has_protected_content) node.append(sign("🔒", "Cannot be forwarded or saved"));
  if (item.silent) node.append(bellOff());
  if (item.reaction) node.append(make("span", "reaction", item.reaction));
  if (item.message.edit_date) node.append(make("span", "", "edited"));
  node.append(time(item.message.date));
  return node;
};

const replyKey = (item) => {
  const node = make("button", "reply", "↩");
  node.type = "button";
  node.ariaLabel = "Reply";
  node.addEventListener("click", () => {
    replyTo(item);
    $("text").focus();
  });
  return node;
};

const author = (message) => message.from?.first_name || message.sender_chat?.title || "";

const bubble = (item, previous) => {
  const message = item.message;
  const notice = service(message);
  if (notice) return make("li", "service", notice);
  const same = previous && author(previous.message) === author(message) && message.date - previous.message.date < 300;
  const node = make("li", `message${item.by_bot ? "" : " mine"}${same ? "" : " first"}`);
  node.dataset.id = message.message_id;
  const body = make("div", "bubble");
  const topic = message.message_thread_id && state.topic === null && state.chat.topics.find((t) => t.id === message.message_thread_id);
  if (!same && (state.chat.type !== "private" || topic)) body.append(make("div", "from", author(message), topic ? make("span", "topic", ` · ${topic.name}`) : null));
  const original = message.reply_to_message;
  if (original) body.append(make("span", "quote", snippet({ message: original })));
  const items = item.items ?? [item];
  const files = items.map(attachment).filter(Boolean);
  if (files.length > 1) body.append(make("div", "album", ...files));
  else body.append(...files);
  const worded = items.filter((each) => each.message.text ?? each.message.caption);
  const contents = (worded.length ? worded : [item]).map((each) => rendered(each.message.text ?? each.message.caption ?? "", each.message.entities ?? each.message.caption_entities));
  const content = contents.at(-1);
  body.append(...contents.slice(0, -1));
  content.append(meta(item)); // floats into the last line
  const shown = preview(message);
  const above = message.link_preview_options?.show_above_text;
  if (shown && above) body.append(shown);
  body.append(content);
  if (shown && !above) body.append(shown);
  body.append(replyKey(item));
  node.append(body);
  const keys = keyboard(item);
  if (keys) node.append(keys);
  return node;
};

// ── the lists

const showChats = () => {
  $("chats").replaceChildren(
    ...state.chats.map((chat) => {
      const face = make("span", "face", initials(chat.title));
      face.style.setProperty("--hue", hue(chat.id));
      face.ariaHidden = "true";
      const last = chat.last;
      const unread = Math.max(0, chat.messages - (state.seen.get(chat.id) ?? chat.messages));
      const node = make(
        "button",
        "",
        face,
        make("span", "", make("span", "line", make("span", "name", chat.title), make("span", "kind", [kindOf(chat), ...chat.state].filter(Boolean).join(" · "))), make("div", "snippet", last ? snippet(last) : "No messages yet")),
        make("span", "side", last ? time(last.message.date) : null, unread ? make("span", "unread", String(unread)) : null),
      );
      node.type = "button";
      node.ariaCurrent = String(state.chat?.id === chat.id);
      node.addEventListener("click", () => open(chat.id));
      return make("li", "", node);
    }),
  );
};

const showChat = () => {
  const chat = state.chat;
  $("title").textContent = chat.title;
  $("face").textContent = initials(chat.title);
  $("face").style.setProperty("--hue", hue(chat.id));
  $("subtitle").textContent = [chat.id, kindOf(chat), ...chat.state].filter(Boolean).join(" · ");
  $("answer").hidden = chat.state.length > 0 && !chat.state.every((name) => name === "blocked");
  $("person").parentElement.hidden = chat.type === "private" || chat.type === "channel";
  showTopics();
};

const showPinned = () => {
  const pinned = state.messages.filter((item) => item.pinned).at(-1);
  $("pinned").hidden = !pinned;
  $("pinned-text").textContent = pinned ? snippet(pinned) : "";
};

const showTopics = () => {
  const topics = state.chat.topics;
  $("topics").hidden = !topics.length;
  const choices = [{ id: null, name: "All" }, ...topics];
  $("topics").replaceChildren(
    ...choices.map((topic) => {
      const node = make("button", "", topic.name);
      node.type = "button";
      node.ariaPressed = String(state.topic === topic.id);
      node.addEventListener("click", () => {
        state.topic = topic.id;
        showTopics();
        showMessages(true);
      });
      return node;
    }),
  );
};

const inTopic = (item) => state.topic === null || (item.message.message_thread_id ?? 1) === state.topic;

const showMessages = (toEnd) => {
  const scroll = $("scroll");
  const atEnd = toEnd || scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  const known = new Set([...$("messages").children].map((node) => node.dataset.id));
  const nodes = [];
  let previous = null;
  for (const item of albums(state.messages.filter(inTopic))) {
    const date = day.format(item.message.date * 1000);
    if (!previous || day.format(previous.message.date * 1000) !== date) {
      nodes.push(make("li", "day", date));
      previous = null;
    }
    const node = bubble(item, previous);
    if (known.size && !known.has(node.dataset.id)) node.classList.add("new");
    nodes.push(node);
    previous = item;
  }
  $("messages").replaceChildren(...nodes);
  showPinned();
  $("empty").hidden = nodes.length > 0;
  $("older").hidden = !state.more;
  if (atEnd) scroll.scrollTop = scroll.scrollHeight;
};

// ── reading

const loadChats = async () => {
  const found = await json(`/api/chats?limit=200&q=${encodeURIComponent($("search").value.trim())}`);
  state.chats = found.chats;
  for (const chat of found.chats) {
    if (!state.seen.has(chat.id) || chat.id === state.chat?.id) state.seen.set(chat.id, chat.messages);
    if (chat.type === "private") state.people.set(chat.id, chat.title);
  }
  $("more-chats").hidden = found.total <= found.chats.length;
  $("more-chats").textContent = `${found.total - found.chats.length} more chats; search for them.`;
  showChats();
  if (!$("person").options.length) {
    $("person").replaceChildren(...[...state.people].slice(0, 20).map(([id, name]) => new Option(name, id)));
    $("person").value = "1001";
  }
};

const loadMessages = async (toEnd) => {
  const id = state.chat.id;
  const kept = Math.max(PAGE, Math.min(1000, state.messages.length));
  const found = await json(`/api/chats/${id}/messages?limit=${kept}`);
  if (state.chat.id !== id) return;
  Object.assign(state, { chat: found.chat, messages: found.messages, more: found.more });
  showChat();
  showMessages(toEnd);
};

const open = async (id) => {
  const chat = state.chats.find((each) => each.id === id);
  if (!chat) return;
  Object.assign(state, { chat, topic: null, messages: [] });
  replyTo(null);
  state.seen.set(id, chat.messages);
  $("app").dataset.view = "chat";
  $("messages").replaceChildren();
  history.replaceState(null, "", `#${id}`);
  showChats();
  showChat();
  await attempt(() => loadMessages(true));
};

const older = async () => {
  const found = await json(`/api/chats/${state.chat.id}/messages?limit=${PAGE}&before=${state.messages[0].message.message_id}`);
  state.messages = [...found.messages, ...state.messages];
  state.more = found.more;
  const scroll = $("scroll");
  const fromEnd = scroll.scrollHeight - scroll.scrollTop;
  showMessages(false);
  scroll.scrollTop = scroll.scrollHeight - fromEnd;
};

// ── acting as a person

const personId = () => (state.chat.type === "private" || state.chat.type === "channel" ? null : Number($("person").value));

const replyTo = (item) => {
  state.replyTo = item && item.message;
  $("replying").hidden = !item;
  $("replying-to").textContent = item ? snippet(item) : "";
};

const send = async () => {
  const text = $("text").value.trim();
  if (!text) return;
  const to = state.replyTo;
  // A reply goes to the topic of the original message.
  const topic = (to && to.message_thread_id) ?? state.topic;
  await json(`/control/chats/${state.chat.id}/say`, { text, person_id: personId(), thread_id: topic === 1 ? null : topic, reply_to: to && to.message_id });
  $("text").value = "";
  replyTo(null);
};

const tap = async (message, button, node) => {
  node.dataset.busy = "";
  await attempt(async () => {
    const answer = await json(`/control/chats/${message.chat.id}/messages/${message.message_id}/tap`, { data: button.callback_data, person_id: personId() });
    awaiting.set(answer.callback_query_id, performance.now());
  });
  delete node.dataset.busy;
};

const awaiting = new Map();
let toastTimer = 0;
const toast = (text) => {
  $("toast").textContent = text;
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => ($("toast").hidden = true), 4000);
};

const showAnswers = (answers) => {
  for (const answer of answers) {
    if (!answer.text || !awaiting.delete(answer.query_id)) continue;
    if (answer.show_alert) {
      $("alert-text").textContent = answer.text;
      $("alert").showModal();
    } else {
      toast(answer.text);
    }
  }
};

const attempt = async (what) => {
  try {
    await what();
  } catch (error) {
    toast(error.message);
  }
};

// ── live

const listen = () => {
  const source = new EventSource("/api/stream");
  const mark = (name, text) => {
    $("live").dataset.state = name;
    $("live").textContent = text;
  };
  source.addEventListener("open", () => {
    mark("live", "live");
    attempt(refresh);
  });
  source.addEventListener("error", () => mark("lost", "reconnecting"));
  source.addEventListener("changed", (event) => {
    const changed = JSON.parse(event.data);
    showAnswers(changed.answers);
    attempt(() => refresh(changed.all || changed.chats.includes(state.chat?.id)));
  });
};

const refresh = async (current = true) => {
  await loadChats();
  if (state.chat && current) await loadMessages(false);
};

$("search").addEventListener("input", () => attempt(loadChats));
$("older").addEventListener("click", () => attempt(older));
$("back").addEventListener("click", () => ($("app").dataset.view = "list"));
$("no-reply").addEventListener("click", () => replyTo(null));
$("answer").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(send);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    attempt(send);
  }
});

await attempt(loadChats);
const wanted = Number(location.hash.slice(1));
if (wanted) await open(wanted);
else if (innerWidth > 720 && state.chats.length) await open(state.chats[0].id);
listen();
